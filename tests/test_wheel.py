"""The wheel works where nothing of the repository is: its files, entry points and commands."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

from deepmd_dpa4.ops.native.build import library_path
from deepmd_dpa4.ops.native.checksum import damage, write_record
from deepmd_dpa4.ops.native.choose_library import levels, library_name, torch_version
from deepmd_dpa4.ops.native.compiler import processor, torch_build
from tests.support.commands import ROOT

pytestmark = pytest.mark.slow

SOURCES = ("deepmd_dpa4", "pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE", "COPYING")
CSRC = "deepmd_dpa4/ops/native/csrc"


def run(*command: Any, folder: Path) -> str:
    """Output of a command that sees neither the repository nor its environment variables."""
    hidden = ("PYTHONPATH", "DEEPMD_DPA4", "DP_PLUGIN_PATH")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    found = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environment | {"OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        check=False,
    )
    assert found.returncode == 0, f"{command}\n{found.stdout[-4000:]}"
    return found.stdout


def link(target: Path, name: Path) -> None:
    if not name.exists():
        name.symlink_to(target)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an archive of the sources, and of the wheel made from that archive."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("built")
    copied = folder / "sources"
    copied.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, copied / name)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", copied, folder=folder)
    return folder / "dist"


@pytest.fixture(scope="module")
def python(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of an environment with the wheel, and everything but this package from the one of the tests."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    (wheel,) = built.glob("*.whl")
    run(
        sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--no-deps", wheel, folder=folder
    )
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if "deepmd_dpa4" not in path.name and path.suffix != ".pth":
            link(path, packages / path.name)
    for path in Path(sys.prefix, "lib").iterdir():  # DeePMD-kit looks for the MPI library there
        link(path, folder / "lib" / path.name)
    return folder / "bin" / "python"


def test_wheel_holds_what_it_needs(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
    needed = [path for path in (ROOT / "deepmd_dpa4").rglob("*") if path.suffix in (".py", ".cpp", ".h", ".typed")]
    assert {str(path.relative_to(ROOT)) for path in needed} <= names
    assert any(name.startswith(CSRC) for name in names)
    assert all(any(name.endswith(f"licenses/{licence}") for name in names) for licence in ("LICENSE", "COPYING"))
    assert not any(name.startswith(("tests/", "docs/", "benchmarks/", "examples/")) for name in names)
    assert "Project-URL" in metadata and "Description-Content-Type: text/markdown" in metadata


def test_imported_from_the_wheel(python: Path, tmp_path: Path) -> None:
    code = "import deepmd_dpa4, pathlib; print(pathlib.Path(deepmd_dpa4.__file__).parent, deepmd_dpa4.__version__)"
    folder, version = run(python, "-c", code, folder=tmp_path).split()
    assert Path(folder).is_relative_to(python.parents[1])
    (metadata,) = run(
        python, "-c", "from importlib.metadata import version as v; print(v('deepmd-dpa4'))", folder=tmp_path
    ).split()
    assert version == metadata


def test_entry_points(python: Path, tmp_path: Path) -> None:
    """Each of them loads."""
    code = """
import json
from importlib.metadata import entry_points
groups = ("deepmd.pt", "deepmd.backend", "lammps.plugins", "console_scripts")
own = [point for group in groups for point in entry_points(group=group) if point.value.startswith("deepmd_dpa4")]
print(json.dumps([[point.group, callable(point.load())] for point in own]))
"""
    found = json.loads(run(python, "-W", "ignore", "-c", code, folder=tmp_path).splitlines()[-1])
    assert sorted(found) == [
        [group, True] for group in ("console_scripts", "deepmd.backend", "deepmd.pt", "lammps.plugins")
    ]


def test_command(python: Path, tmp_path: Path) -> None:
    assert "freeze" in run(python.with_name("dpa4"), "--help", folder=tmp_path)


def test_dp_knows_the_options(python: Path, tmp_path: Path) -> None:
    """DeePMD-kit checks an input by the options of the wheel, and builds the model with it."""
    code = """
import json, pathlib, sys
from deepmd.pt.model.model import get_model
from deepmd.utils.argcheck import normalize
config = normalize(json.loads(pathlib.Path(sys.argv[1]).read_text()))
print(type(get_model(config["model"])).__module__)
"""
    folder = ROOT / "examples" / "water"
    printed = run(python, "-c", code, folder / "minimal.json", folder=tmp_path)
    assert printed.splitlines()[-1].startswith("deepmd_dpa4.")
    for command in (("--version",), ("--pt", "train", "--help")):
        run(python, "-m", "deepmd", *command, folder=tmp_path)


def test_a_library_in_the_wheel_needs_no_compiler(python: Path, tmp_path: Path) -> None:
    """Nothing is compiled and no compiler is there; Python and LAMMPS take the library that fits."""
    compiled = library_path()
    version, (level, *_) = torch_version(torch_build()), levels(processor())
    if damage(compiled) is not None or not level:
        pytest.skip("no library was compiled on this machine")
    (folder,) = python.parents[1].glob("lib/python*/site-packages/deepmd_dpa4/ops/native")
    target = folder / "prebuilt" / library_name(version, level)
    target.parent.mkdir()
    shutil.copy(compiled, target)
    write_record(target)
    code = """
import os
from deepmd_dpa4 import lammps_plugin
from deepmd_dpa4.ops.native import compiler, load
assert compiler.find_compiler() is None
lammps_plugin.announce(os.environ)
assert load.load()
print(os.environ[lammps_plugin.PLUGINS])
"""
    empty = {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    printed = run("env", *(f"{key}={value}" for key, value in empty.items()), python, "-c", code, folder=tmp_path)
    assert printed.splitlines()[-1] == str(target)
    assert not list((tmp_path / "cache").rglob("*.so"))
