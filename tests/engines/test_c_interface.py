"""The program in C of ``examples/water/c``, with the library of DeePMD-kit's wheel."""

import os
import re
import shutil
import sys
from pathlib import Path

import deepmd.lib
import numpy as np
import pytest
from ase.io import read

from deepmd_dpa4 import Evaluator, Structure
from deepmd_dpa4.freeze.freeze import freeze
from deepmd_dpa4.ops.native.choose_library import usable_library
from deepmd_dpa4.ops.native.load import load as load_kernels
from tests.engines.conftest import MakeModel
from tests.examples.snippets import blocks
from tests.support.commands import BIN, ROOT, call, environment
from tests.support.predict import difference

pytestmark = pytest.mark.slow
FOLDER = ROOT / "examples" / "water" / "c"
LIBRARY = Path(next(iter(deepmd.lib.__path__)))
STRUCTURE = FOLDER / "water.xyz"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled program; it is valid C99 without a warning."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not (LIBRARY / "libdeepmd_c.so").exists():
        pytest.skip("needs a C compiler and the C library of DeePMD-kit's wheel")
    path = tmp_path_factory.mktemp("c") / "energy"
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror"]
    link = [f"-L{LIBRARY}", "-ldeepmd_c", f"-Wl,-rpath,{LIBRARY}"]
    call([compiler, *strict, "-O1", "-o", path, FOLDER / "energy.c", *link], path.parent)
    return path


@pytest.fixture(scope="module")
def models(make_model: MakeModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Frozen files of two models, one of them with either kind of kernels."""
    folder = tmp_path_factory.mktemp("frozen")
    first, second = make_model(("H", "O")), make_model(("H", "O"), seed=5)
    for checkpoint, name, kernels in (
        (first, "plain", "plain"),
        (second, "other", "plain"),
        (first, "native", "native"),
    ):
        if kernels == "plain" or load_kernels():
            freeze(str(checkpoint), str(folder / f"{name}.pth"), kernels=kernels)
    return {path.stem: path for path in folder.glob("*.pth")}


def libraries() -> dict[str, str]:
    """Environment in which the wheel's library finds what it opens."""
    site = LIBRARY.parents[1]
    paths = (site / "torch" / "lib", site / "nvidia" / "cuda_runtime" / "lib", Path(sys.prefix) / "lib")
    if not (paths[1].exists() and (paths[2] / "libmpi.so.12").exists()):
        pytest.skip("needs the extra `lmp`")
    return environment() | {"LD_LIBRARY_PATH": ":".join(map(str, paths)), "DP_PLUGIN_PATH": str(usable_library())}


def run(program: Path, *words: Path, fails: bool = False) -> str:
    return call([program, *words], program.parent, libraries(), fails)


def numbers(printed: str, line: str) -> np.ndarray:
    """All numbers of the lines that begin with a word."""
    found = re.findall(rf"^{line} ?\d* (.*) eV", printed, re.MULTILINE)
    return np.array([[float(word) for word in text.split()] for text in found])


def assert_right(printed: str, path: Path, model: Path, periodic: bool) -> None:
    """The numbers are those of Python."""
    assert "cutoff 4 A, types H O" in printed
    atoms = read(path)
    cell = atoms.cell.array if periodic else None
    (expected,) = Evaluator(model).evaluate([Structure(atoms.get_chemical_symbols(), atoms.positions, cell)])
    assert np.abs(expected.forces).max() > 0.1
    assert numbers(printed, "energy") == pytest.approx(expected.energy, abs=1e-7)
    assert difference(numbers(printed, "force"), expected.forces) < 1e-6
    assert difference(numbers(printed, "virial"), expected.virial.reshape(1, 9)) < 1e-6


def test_commands_of_the_page(models: dict[str, Path], tmp_path: Path) -> None:
    """The README's commands work as they stand: a portable file, in a cell."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    libraries()
    (block,) = blocks(FOLDER / "README.md", "sh")
    shutil.copytree(FOLDER, tmp_path / "c")
    shutil.copy(models["plain"], tmp_path / "model.pth")
    path = {"PATH": f"{BIN}:{os.environ['PATH']}"}
    assert_right(call(["bash", "-euc", block], tmp_path / "c", environment() | path), STRUCTURE, models["plain"], True)


def test_native_kernels_without_a_cell(program: Path, models: dict[str, Path]) -> None:
    if "native" not in models:
        pytest.skip("this machine cannot have native kernels")
    path = program.parent / "molecule.xyz"
    text = re.sub('Lattice="[^"]*" ', "", STRUCTURE.read_text())
    path.write_text(text.replace('pbc="T T T"', 'pbc="F F F"'))
    assert_right(run(program, models["native"], path), path, models["plain"], False)


def test_deviation_of_two_models(program: Path, models: dict[str, Path]) -> None:
    printed = run(program, models["plain"], STRUCTURE, models["other"])
    atoms = read(STRUCTURE)
    structure = Structure(atoms.get_chemical_symbols(), atoms.positions, atoms.cell.array)
    forces = np.array([Evaluator(models[name]).evaluate([structure])[0].forces for name in ("plain", "other")])
    expected = forces.var(axis=0).sum(axis=1).max()
    assert expected > 1e-3
    assert numbers(printed, "largest squared deviation of a force") == pytest.approx(expected, rel=1e-5)


def test_errors_are_told(program: Path, models: dict[str, Path], tmp_path: Path) -> None:
    """A file that is not there, an element that the model does not know."""
    assert "energy: error:" in run(program, tmp_path / "absent.pth", STRUCTURE, fails=True)
    (tmp_path / "iron.xyz").write_text(STRUCTURE.read_text().replace("O ", "Fe "))
    assert "element that the model does not know" in run(program, models["plain"], tmp_path / "iron.xyz", fails=True)
