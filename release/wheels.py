"""Build a wheel with compiled native kernels: one library for each torch and level of processor.

The libraries need no symbol of glibc beyond 2.28, so the wheel is of the platform manylinux_2_28. It is made from the
archive of the sources that lies beside it.

    python release/wheels.py [--torch FOLDER ...]

``--torch`` adds installed or unpacked torches, as folders that hold ``include`` and ``lib``, to the one of this
environment. Takes about two minutes for each library on two cores.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from deepmd_dpa4.errors import UserError
from deepmd_dpa4.ops.native.build import SOURCES, compile_library
from deepmd_dpa4.ops.native.compiler import find_compiler, torch_folder
from deepmd_dpa4.ops.native.prebuilt import LEVELS, library_name, torch_version

HERE = Path(__file__).parent
GLIBC = (2, 28)
PLATFORM = "manylinux_{}_{}_x86_64".format(*GLIBC)
TUNING = {"x86-64-v4": ("-mprefer-vector-width=512",), "x86-64-v3": ()}


def main(arguments: list[str] | None = None) -> None:
    """Build archive and wheel."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", type=Path, nargs="+", default=[], metavar="FOLDER")
    parser.add_argument("--output", type=Path, default=HERE.parent / "dist", metavar="FOLDER")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        sources = unpacked(Path(name), options.output)
        folder = sources / "deepmd_dpa4" / "ops" / "native" / "prebuilt"
        folder.mkdir()
        for torch in [torch_folder(), *options.torch]:
            for level in LEVELS:
                check_symbols(compiled(torch, level, folder, Path(name) / "objects"))
        print(wheel(sources, Path(name) / "wheel", options.output))


def unpacked(folder: Path, output: Path) -> Path:
    """Make the archive of the sources and unpack it."""
    run(sys.executable, "-m", "build", "--no-isolation", "--sdist", "--outdir", folder, HERE.parent)
    (archive,) = folder.glob("*.tar.gz")
    shutil.copy(archive, output)
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def compiled(torch: Path, level: str, folder: Path, objects: Path) -> Path:
    """Compile the library for a torch and a level of processor, and record its checksum."""
    compiler = find_compiler(level, torch, (*TUNING[level], "-include", str(HERE / "portable.h")))
    if compiler is None:
        raise UserError("no C++ compiler found on PATH")
    version = torch_version((torch / "version.py").read_text(encoding="utf-8"))
    target = folder / library_name(version, level)
    print(f"torch {version}, {level}", flush=True)
    sources = [*sorted(SOURCES.rglob("*.cpp")), HERE / "portable.cpp"]
    compile_library(compiler, lambda line: print(f"  {line}", flush=True), sources, target, objects)
    target.with_suffix(".log").unlink()
    return target


def check_symbols(library: Path) -> None:
    """Refuse a library that needs symbols of a later C library than the platform has; raises UserError."""
    table = subprocess.run(["objdump", "-T", library], capture_output=True, text=True, check=True).stdout
    needed = {tuple(map(int, found)) for found in re.findall(r"GLIBC_(\d+)\.(\d+)", table)}
    if max(needed) > GLIBC:
        late = [line.split()[-1] for line in table.splitlines() if "GLIBC_{}.{}".format(*max(needed)) in line]
        raise UserError(f"{library.name} needs {', '.join(late)} of glibc {max(needed)} but must load with {GLIBC}")


def wheel(sources: Path, folder: Path, output: Path) -> Path:
    """Make the wheel and name its platform."""
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", folder, sources)
    (pure,) = folder.glob("*.whl")
    run(sys.executable, "-m", "wheel", "tags", "--platform-tag", PLATFORM, "--remove", pure)
    (tagged,) = folder.glob("*.whl")
    return Path(shutil.copy(tagged, output))


def run(*command: object) -> None:
    """Run a command, whose output is shown if it fails."""
    found = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        raise UserError(f"{command} failed:\n{found.stdout[-4000:]}{found.stderr[-4000:]}")


if __name__ == "__main__":
    main()
