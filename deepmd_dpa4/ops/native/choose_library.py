"""Libraries of native kernels in a binary wheel, one for each version of torch and level of processor."""

import re
from pathlib import Path

from deepmd_dpa4.ops.native import compiler as toolchain
from deepmd_dpa4.ops.native.build import library_path
from deepmd_dpa4.ops.native.checksum import damage

FOLDER = Path(__file__).with_name("prebuilt")
LEVELS = {
    "x86-64-v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    "x86-64-v3": {"avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "abm"},
}
"""Levels of the x86-64 instruction set, best first, by what each needs beyond the next, as Linux names it."""


def library_name(torch: str, level: str) -> str:
    """Name the library for a version of torch, such as 2.11, and a level of processor."""
    return f"torch{torch}-{level}.so"


def torch_version(build: str) -> str:
    """Read major and minor version from the ``version.py`` of torch; empty if it says none."""
    found = re.search(r"__version__ = '(\d+\.\d+)\.", build)
    return found[1] if found else ""


def levels(processor: str) -> list[str]:
    """List the levels that a processor reaches, best first.

    Parameters
    ----------
    processor : str
        Architecture and features, as :func:`deepmd_dpa4.ops.native.compiler.processor` returns them.
    """
    architecture, *features = processor.split()
    if architecture != "x86_64":
        return []
    reached, needed = list[str](), set[str]()
    for level, more in reversed(LEVELS.items()):
        needed |= more
        if needed <= set(features):
            reached.insert(0, level)
    return reached


def least_processor(level: str) -> str:
    """Describe the least processor that reaches a level, as :func:`levels` reads it."""
    needed = list(LEVELS)[list(LEVELS).index(level) :]
    return " ".join(["x86_64", *sorted(set[str]().union(*(LEVELS[name] for name in needed)))])


def prebuilt_library(folder: Path = FOLDER, processor: str | None = None) -> Path | None:
    """Find the library of this installation that fits processor and torch, or None.

    Parameters
    ----------
    folder : Path
        Where the libraries are.
    processor : str, optional
        Architecture and features, as :func:`levels` reads them; by default those of this machine. Another one lets a
        machine try what a lesser one would load.
    """
    version = torch_version(toolchain.torch_build())
    names = [library_name(version, level) for level in levels(processor or toolchain.processor())]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def usable_library() -> Path:
    """Return the library to load: the one compiled for this machine if it is whole, else one brought along, if any.

    Returns
    -------
    Path
        Where neither is there and whole, the path at which a compiled one will be.
    """
    compiled = library_path()
    brought = None if damage(compiled) is None else prebuilt_library()
    return compiled if brought is None or damage(brought) is not None else brought
