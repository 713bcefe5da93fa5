"""The C++ compiler of this machine and how it is called."""

import importlib.util
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

COMMANDS = ("c++", "g++", "clang++")
FLAGS = (
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-fopenmp",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
)
MACHINE = "-march=native"
BINDING_FLAGS = ("-O1", "-DDPA4_BINDING")
"""Of sources that only pass tensors on, of which most is code of torch. They are not made for a processor."""
LIBRARIES = ("-ltorch", "-ltorch_cpu", "-lc10")


@dataclass(frozen=True)
class Compiler:
    """A compiler.

    Parameters
    ----------
    path : str
        Where it is.
    version : str
        First line of what ``--version`` prints.
    level : str, optional
        Processor to compile for, such as x86-64-v3; by default that of this machine.
    torch : Path, optional
        Folder of the torch to compile for; by default the one that is installed. A library for another is loaded beside
        any build of it, so it names no folder and leaves the OpenMP runtime, whose file name differs between builds, to
        the libraries of torch that it needs.
    more : tuple of str
        Further words for what is made for a processor.
    """

    path: str
    version: str
    level: str | None = None
    torch: Path | None = None
    more: tuple[str, ...] = ()

    @cached_property
    def machine(self) -> tuple[str, ...]:
        """Return the flags for the processor; empty if the compiler knows none for this machine."""
        if self.level is not None:
            return (f"-march={self.level}",)
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "empty.cpp"
            source.touch()
            words = [self.path, MACHINE, "-c", str(source), "-o", f"{source}.o"]
            accepted = subprocess.run(words, capture_output=True, check=False).returncode == 0
        return (MACHINE,) if accepted else ()

    def compiling(self, source: Path, binding: bool, target: Path) -> list[str]:
        """Return the command that makes an object file of a source, which may hold bindings."""
        include = (self.torch or torch_folder()) / "include"
        folders = (include, include / "torch" / "csrc" / "api" / "include")
        paths = [word for folder in folders for word in ("-isystem", str(folder))]
        kind = BINDING_FLAGS if binding else (*self.machine, *self.more)
        return [self.path, *FLAGS, *kind, *paths, "-c", str(source), "-o", str(target)]

    def linking(self, objects: list[Path], target: Path) -> list[str]:
        """Return the command that makes a library of object files."""
        if self.torch is not None:
            found, openmp = [f"-L{self.torch / 'lib'}"], []
        else:
            folder = torch_folder() / "lib"
            found, openmp = [f"-L{folder}", f"-Wl,-rpath,{folder}", "-Wl,--no-undefined"], self._openmp()
        return [self.path, "-shared", *map(str, objects), "-o", str(target), *found, *LIBRARIES, *openmp]

    def _openmp(self) -> list[str]:
        """Torch's own runtime, since two in one process would each start their threads."""
        runtime = openmp_of_torch(torch_folder())
        if runtime is None or "clang" in self.version:
            return ["-fopenmp"]
        return [str(runtime), f"-Wl,-rpath,{runtime.parent}"]


def find_compiler(level: str | None = None, torch: Path | None = None, more: tuple[str, ...] = ()) -> Compiler | None:
    """Find the first of the known compilers that runs, or None; options are those of :class:`Compiler`."""
    for command in COMMANDS:
        path = shutil.which(command)
        if path is not None:
            run = subprocess.run([path, "--version"], capture_output=True, text=True, errors="replace", check=False)
            if run.returncode == 0 and run.stdout:
                return Compiler(path, run.stdout.splitlines()[0].strip(), level, torch, more)
    return None


def torch_folder() -> Path:
    """Find the folder of the installed torch without importing it."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise ImportError("torch is not installed")
    return Path(spec.origin).parent


def torch_build(folder: Path | None = None) -> str:
    """Return a text that differs between builds of torch; of the installed one, or of that in a folder."""
    return ((folder or torch_folder()) / "version.py").read_text(encoding="utf-8")


def openmp_of_torch(folder: Path) -> Path | None:
    """Find the GNU OpenMP runtime that a torch brings along, whose name may hold a hash; None if it brings none."""
    found = [path for part in (folder / "lib", folder.parent / "torch.libs") for path in sorted(part.glob("libgomp*"))]
    return found[0] if found else None


def processor() -> str:
    """Return a text that differs between processors with different instructions."""
    features = ""
    if sys.platform == "linux":
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        lines = re.findall(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
        features = " ".join(sorted(set(lines[0].split()))) if lines else ""
    return f"{platform.machine()} {features}"
