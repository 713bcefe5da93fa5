"""Build a wheel with compiled native kernels: one library for each torch and level of processor.

The libraries need no symbols of the C and C++ libraries beyond those of the platform manylinux_2_28, and no file but
those of torch and the system. The wheel is made from the archive of the sources that lies beside it.

    python release/wheels.py [--torch FOLDER ...]

``--torch`` adds installed or unpacked torches, as folders that hold ``include`` and ``lib``, to the one of this
environment. Takes about two minutes for each library on two cores; a build that was interrupted goes on where it was,
by the object files in ``build/wheels``.
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
from deepmd_dpa4.ops.native.build import SOURCES
from deepmd_dpa4.ops.native.choose_library import LEVELS, library_name, torch_version
from deepmd_dpa4.ops.native.compiler import find_compiler, torch_folder
from deepmd_dpa4.ops.native.library import compile_library

HERE = Path(__file__).parent
OBJECTS = HERE.parent / "build" / "wheels"
PLATFORM = "manylinux_2_28_x86_64"
SYMBOLS = {"GLIBC": (2, 28), "GLIBCXX": (3, 4, 24), "CXXABI": (1, 3, 11), "GCC": (7, 0, 0)}
"""Latest versions that the platform has."""
NEEDED = {
    *("libtorch.so", "libtorch_cpu.so", "libc10.so"),
    *("ld-linux-x86-64.so.2", "libc.so.6", "libgcc_s.so.1", "libm.so.6", "libstdc++.so.6"),
}
"""Files that a library may need: those of torch, which it is loaded beside, and those that every system has."""
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
                check_platform(compiled(torch, level, folder))
        print(wheel(sources, Path(name) / "wheel", options.output))


def unpacked(folder: Path, output: Path) -> Path:
    """Make the archive of the sources and unpack it."""
    run(sys.executable, "-m", "build", "--no-isolation", "--sdist", "--outdir", folder, HERE.parent)
    (archive,) = folder.glob("*.tar.gz")
    shutil.copy(archive, output)
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def compiled(torch: Path, level: str, folder: Path) -> Path:
    """Compile the library for a torch and a level of processor, and record its checksum."""
    compiler = find_compiler(level, torch, (*TUNING[level], "-include", str(HERE / "portable.h")))
    if compiler is None:
        raise UserError("no C++ compiler found on PATH")
    version = torch_version((torch / "version.py").read_text(encoding="utf-8"))
    target = folder / library_name(version, level)
    print(f"torch {version}, {level}", flush=True)
    sources = [*sorted(SOURCES.rglob("*.cpp")), HERE / "portable.cpp"]
    OBJECTS.mkdir(parents=True, exist_ok=True)
    compile_library(compiler, lambda line: print(f"  {line}", flush=True), sources, target, OBJECTS)
    target.with_suffix(".log").unlink()
    return target


def check_platform(library: Path) -> None:
    """Refuse a library that needs symbols or files that the platform lacks; raises UserError."""
    table = run("objdump", "-T", "-p", library)
    for family, version in re.findall(r"\b([A-Z]+)_(\d+(?:\.\d+)+)", table):
        if family in SYMBOLS and tuple(map(int, version.split("."))) > SYMBOLS[family]:
            late = sorted({line.split()[-1] for line in table.splitlines() if f"({family}_{version})" in line})
            raise UserError(
                f"{library.name} needs {', '.join(late)} of {family} {version} but must load with {SYMBOLS}"
            )
    foreign = set(re.findall(r"NEEDED +(\S+)", table)) - NEEDED
    if foreign:
        raise UserError(
            f"{library.name} needs {', '.join(sorted(foreign))} but may need {', '.join(sorted(NEEDED))} only"
        )


def wheel(sources: Path, folder: Path, output: Path) -> Path:
    """Make the wheel, for the platform."""
    platform = f"--config-setting=--build-option=--plat-name={PLATFORM}"
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", platform, "--outdir", folder, sources)
    (made,) = folder.glob(f"*-{PLATFORM}.whl")
    return Path(shutil.copy(made, output))


def run(*command: object) -> str:
    """Run a command and return its output, which is shown if it fails."""
    found = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        raise UserError(f"{command} failed:\n{found.stdout[-4000:]}{found.stderr[-4000:]}")
    return found.stdout


if __name__ == "__main__":
    main()
