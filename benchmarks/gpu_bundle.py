"""What does a bare machine with a graphics card need to run `gpu.py` with both implementations?

Packs it into one folder, ``build/gpu_bundle``: this checkout, and from this environment the Python part of DeePMD-kit
with what it imports besides torch, triton, numpy and scipy. The machine needs the same version of Python. There, in the
folder:

    PYTHONPATH=$PWD/site:$PWD python -m benchmarks.gpu
"""

import argparse
import importlib.metadata as metadata
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "gpu_bundle"
LARGEST = 60 * 2**20
"""Bytes of the folder."""
CHECKOUT = ("deepmd_dpa4", "benchmarks", "tests", "pyproject.toml", "LICENSE", "COPYING")
DATA = ("examples/water/train.json", "examples/water/data/valid")
"""What networks and atoms of the benchmarks are made from."""
ROOTS = ("deepmd-kit", "vesin-torch", "e3nn", "filelock", "platformdirs", "rich", "pytest")
EXTRAS = {"deepmd-kit": ("torch",)}
THERE = re.compile(
    r"(torch|triton|numpy|scipy|sympy|mpmath|networkx|jinja2|markupsafe|fsspec|setuptools|nvidia-.*|cuda-.*)$"
)
"""What a machine with torch and scipy has."""
LEFT_OUT = re.compile(
    r"(mpich|mendeleev|pandas|pyfiglet|pint|pydantic.*|sqlalchemy|deprecated|nvalchemi-.*|warp-lang|tensorflow.*)$"
)
"""What only parts of DeePMD-kit import that are not used."""
COMPILED = re.compile(r"/(include|share|bin|cmake)/|\.(so[.0-9]*|a|h|hpp)$")
UNUSED = re.compile(r"/(tests?|examples|docs?|__pycache__)/|\.(pyc|pyi)$")


class BundleError(Exception):
    """Something a user can read and act on."""


def distributions(roots: Iterable[str]) -> list[metadata.Distribution]:
    """Distributions of this environment that ``roots`` need, without what the other machine has."""
    found: dict[str, metadata.Distribution] = {}
    pending = [_normal(name) for name in roots]
    while pending:
        name = pending.pop()
        if name in found or THERE.match(name) or LEFT_OUT.match(name):
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        pending += [_normal(required) for required in _requirements(name, found[name])]
    return [found[name] for name in sorted(found)]


def _requirements(name: str, distribution: metadata.Distribution) -> Iterable[str]:
    wanted = EXTRAS.get(name, ())
    for line in distribution.requires or []:
        requirement, _, marker = line.partition(";")
        extra = re.search(r"extra *== *['\"]([^'\"]+)", marker)
        if extra is None or extra.group(1) in wanted:
            yield re.match(r"[\w.-]+", requirement.strip()).group()  # type: ignore[union-attr]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def copy_distribution(distribution: metadata.Distribution, target: Path) -> None:
    """Copy the modules of a distribution; of DeePMD-kit without its libraries."""
    name = _normal(distribution.metadata["Name"])
    for file in distribution.files or []:
        text, source = f"/{file}", Path(str(distribution.locate_file(file)))
        outside = ".." in file.parts or not source.is_file()
        if outside or UNUSED.search(text) or (name == "deepmd-kit" and COMPILED.search(text)):
            continue
        if name == "vesin-torch" and "/torch-" in text and not _is_for_this_torch(text):
            continue
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target / file)
        if file.name == "run_config.ini":
            # a wheel of DeePMD-kit would load MPI for its libraries, which stay behind
            text = (target / file).read_text()
            (target / file).write_text(re.sub(r"(?im)^(cibuildwheel\s*=).*", r"\1 0", text))


def _is_for_this_torch(text: str) -> bool:
    version = ".".join(metadata.version("torch").split(".")[:2])
    return f"/torch-{version}/" in text


def pack(folder: Path, roots: Iterable[str] = ROOTS) -> int:
    """Write the folder anew; returns its size in bytes.

    Raises
    ------
    BundleError
        If it is larger than 60 MiB.
    """
    shutil.rmtree(folder, ignore_errors=True)
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", "*.png", "golden", "build")
    for name in CHECKOUT + DATA:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=ignore)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    for distribution in distributions(roots):
        copy_distribution(distribution, folder / "site")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > LARGEST:
        largest = sorted((path.stat().st_size, str(path)) for path in folder.rglob("*") if path.is_file())[-5:]
        raise BundleError(f"{folder} has {size:,} bytes but must have {LARGEST:,} at most; its largest: {largest}")
    return size


def main(arguments: list[str] | None = None) -> None:
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("--folder", type=Path, default=FOLDER)
    command.add_argument("--without-deepmd", action="store_true", help="only this checkout, for a first look")
    options = command.parse_args(arguments)
    size = pack(options.folder, () if options.without_deepmd else ROOTS)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    print(f"{options.folder}: {size / 2**20:.1f} MiB, for Python {version}")


if __name__ == "__main__":
    main()
