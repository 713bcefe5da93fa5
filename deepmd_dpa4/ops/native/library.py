"""Compile and link sources to a library, with all cores busy and a word now and then."""

import errno
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

from deepmd_dpa4.errors import UserError
from deepmd_dpa4.files import is_full, replacing
from deepmd_dpa4.ops.native import compiler as toolchain
from deepmd_dpa4.ops.native.checksum import record_path, write_record
from deepmd_dpa4.ops.native.compiler import Compiler
from deepmd_dpa4.ops.native.sources import costly_first, hash_of, is_binding, with_headers

WORKERS = 4
SHOWN_LINES = 20
BREATH = 15.0
"""Seconds after which a build that says nothing says that it goes on."""

Report = Callable[[str], None]


class BuildError(UserError, RuntimeError):
    """The native kernels cannot be compiled here; the message says why and names the log, if there is one."""


def compile_library(compiler: Compiler, report: Report, sources: list[Path], target: Path, folder: Path) -> list[Path]:
    """Compile sources, link them and record the checksum of the library.

    Parameters
    ----------
    compiler : Compiler
        For which processor and torch.
    report : callable
        Is told the progress, one line each.
    sources : list of Path
        C++ files; headers are found beside them.
    target : Path
        The library; a log with the same stem is written beside it.
    folder : Path
        Keeps the object files, so that a change in one source compiles that one only.

    Returns
    -------
    list of Path
        The object files.

    Raises
    ------
    BuildError
        If the compiler fails.
    """
    log = _Log(target.with_suffix(".log"))
    folder.mkdir(exist_ok=True)
    objects = {source: folder / _object_name(compiler, source) for source in sources}
    missing = [source for source in costly_first(sources) if not objects[source].exists()]
    report(
        f"compiling native kernels with {compiler.version}: once per machine and torch version, half a minute to "
        "two minutes on two cores"
    )
    workers = min(WORKERS, len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(workers) as pool:
        jobs = {
            pool.submit(_make, log, partial(compiler.compiling, source, is_binding(source)), objects[source]): source
            for source in missing
        }
        waiting, start = set(jobs), time.monotonic()
        while waiting:
            finished, waiting = wait(waiting, timeout=BREATH, return_when=FIRST_COMPLETED)
            done = len(jobs) - len(waiting)
            for job in finished:
                job.result()
                report(f"compiled {jobs[job].name} ({done} of {len(jobs)})")
            if not finished:
                report(f"compiling for {time.monotonic() - start:.0f} s, {done} of {len(jobs)} sources are done")
    # between these lines the library has no record, which another process takes for damage
    record_path(target).unlink(missing_ok=True)
    _make(log, partial(compiler.linking, list(objects.values())), target)
    write_record(target)
    report("linked")
    return list(objects.values())


class _Log:
    """Commands and what they printed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_text("", encoding="utf-8")

    def add(self, text: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text)


def _make(log: _Log, command: Callable[[Path], list[str]], target: Path) -> None:
    """Run the command that writes ``target`` at the place that it is given."""
    with replacing(target) as written:
        words = command(written)
        run = subprocess.run(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
        )
        # before the log, which needs space too
        if run.returncode != 0 and is_full(target.parent):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        log.add(f"$ {shlex.join(words)}\n{run.stdout}")
        if run.returncode != 0:
            last = "\n".join(run.stdout.splitlines()[-SHOWN_LINES:])
            raise BuildError(f"{words[0]} failed with status {run.returncode}:\n{last}\nThe complete log: {log.path}")


def _object_name(compiler: Compiler, source: Path) -> str:
    command = compiler.compiling(source, is_binding(source), Path())
    parts = [*command, compiler.version, toolchain.torch_build(compiler.torch), toolchain.processor()]
    folder = Path(os.path.commonpath([path.parent for path in with_headers(source)]))
    return f"{source.stem}-{hash_of(parts, folder, list(with_headers(source)))[:16]}.o"
