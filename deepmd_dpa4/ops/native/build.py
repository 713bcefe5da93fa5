"""Compile the native kernels once for each machine, torch version and state of the sources."""

import errno
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from deepmd_dpa4.errors import UserError
from deepmd_dpa4.files import is_full, replacing, write_text
from deepmd_dpa4.ops.native import compiler as toolchain
from deepmd_dpa4.ops.native.compiler import Compiler, find_compiler
from deepmd_dpa4.ops.native.record import damage, record_path, write_record

SOURCES = Path(__file__).with_name("csrc")
WORKERS = 4
SHOWN_LINES = 20
BREATH = 15.0
"""Seconds after which a build that says nothing says that it goes on."""
OBJECTS = "objects"
WORTH_PRECOMPILING = 3
"""Bindings to compile, below which their header is not precompiled."""
ALLOCATOR = "common/allocator.cpp"
"""Source that sets the allocator of the C library for the whole process; the library can do without it."""
BINDING = "binding.h"
"""Header of the sources that know torch; it is precompiled where several of them are to be compiled."""
_INCLUDE = re.compile(r'^#include "(.+)"', re.MULTILINE)

Report = Callable[[str], None]


class BuildError(UserError, RuntimeError):
    """The native kernels cannot be compiled here; the message says why and names the log, if there is one."""


def cache_folder() -> Path:
    """Return the folder of compiled libraries in the user's cache; it may be deleted at any time."""
    import platformdirs

    return platformdirs.user_cache_path("deepmd-dpa4", appauthor=False)


def library_path(sources: Path = SOURCES, cache: Path | None = None) -> Path:
    """Return the path of the library for this machine, torch and these sources, built or not.

    The compiler is not part of the name: a library stays good when the compiler is updated, and on machines that
    share a home folder and have none.

    Parameters
    ----------
    sources : Path
        Folder of the C++ files, in subfolders or not.
    cache : Path, optional
        Folder of libraries.
    """
    return (cache or cache_folder()) / f"dpa4-{_digest(sources)[:16]}.so"


def build(
    report: Report,
    sources: Path = SOURCES,
    cache: Path | None = None,
    force: bool = False,
    retry: bool = True,
    set_allocator: bool | None = None,
) -> Path:
    """Compile the library, unless it is there and whole; a second process waits for the first.

    Parameters
    ----------
    report : callable
        Is told the progress, one line each.
    sources, cache : Path, optional
        Of :func:`library_path`.
    force : bool
        Compile everything, even if the library is there.
    retry : bool
        Compile although this compiler has failed before.
    set_allocator : bool, optional
        Whether the library, when it is loaded, makes the C library keep freed memory. By default a library that is
        there stays as it is, and a new one does.

    Returns
    -------
    Path
        The library.

    Raises
    ------
    BuildError
        If there is no compiler, a source does not compile, or the cache folder cannot be written.
    """
    if sys.platform != "linux":
        raise BuildError(f"the operating system is {sys.platform!r} but native kernels are available on Linux only")
    target = library_path(sources, cache)
    try:
        with _lock(target.parent, report):
            reason = None if retry else known_failure(target)
            if reason is not None:
                raise BuildError(reason)
            if force:
                shutil.rmtree(target.parent / OBJECTS, ignore_errors=True)
            if force or set_allocator is not None or damage(target) is not None:
                _build(report, sources, target, set_allocator is not False)
    except OSError as error:
        raise BuildError(f"cannot write native kernels to {target.parent}: {error.strerror or error}") from error
    return target


def known_failure(target: Path) -> str | None:
    """Read why this compiler could not make ``target`` the last time, or None."""
    marker, compiler = _marker(target), find_compiler()
    if compiler is None or not marker.exists():
        return None
    # a marker that is damaged names another compiler, if any
    version, _, reason = marker.read_text(encoding="utf-8", errors="replace").partition("\n")
    return reason if version == compiler.version and reason else None


def _build(report: Report, sources: Path, target: Path, set_allocator: bool) -> None:
    compiler = find_compiler()
    if compiler is None:
        raise BuildError(f"no C++ compiler found on PATH; looked for {', '.join(toolchain.COMMANDS)}")
    try:
        _compile_all(compiler, report, sources, target, set_allocator)
    except BuildError as error:
        write_text(_marker(target), f"{compiler.version}\n{error}")
        raise
    _marker(target).unlink(missing_ok=True)


def _compile_all(compiler: Compiler, report: Report, sources: Path, target: Path, set_allocator: bool) -> None:
    folder = target.parent / OBJECTS
    used = [path for path in sorted(sources.rglob("*.cpp")) if set_allocator or path != sources / ALLOCATOR]
    objects = compile_library(compiler, report, used, target, folder)
    for path in set(folder.iterdir()) - set(objects):
        # a process that was killed leaves a folder
        shutil.rmtree(path) if path.is_dir() else path.unlink()


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
    missing = [source for source in _costly_first(sources) if not objects[source].exists()]
    report(
        f"compiling native kernels with {compiler.version}: once per machine and torch version, one to four minutes on "
        "two cores"
    )
    with ThreadPoolExecutor(min(WORKERS, len(os.sched_getaffinity(0)))) as pool, _headers(folder) as headers:
        header = pool.submit(_precompile, compiler, log, missing, headers)
        jobs = {pool.submit(_compile, compiler, log, source, objects[source], header): source for source in missing}
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


def _costly_first(sources: list[Path]) -> list[Path]:
    """Order sources so that all cores stay busy: those that need no precompiled header, then by size with headers."""
    parts = {source: _with_headers(source) for source in sources}
    sizes = {source: sum(path.stat().st_size for path in paths) for source, paths in parts.items()}
    return sorted(sources, key=lambda source: (_binding(source) is not None, -sizes[source]))


def _binding(source: Path) -> Path | None:
    """The header of torch that a source includes, directly or not."""
    return next((path for path in _with_headers(source) if path.name == BINDING), None)


@contextmanager
def _headers(folder: Path) -> Iterator[Path]:
    """A folder for precompiled headers, which are large and serve one build."""
    with TemporaryDirectory(dir=folder) as name:
        yield Path(name)


def _precompile(compiler: Compiler, log: _Log, sources: list[Path], folder: Path) -> Path | None:
    """Precompile the header of bindings if that pays; return what they begin with, or None.

    Compilers read the header itself where they cannot use the precompiled one.
    """
    found = [path for path in map(_binding, sources) if path is not None]
    if len(found) < WORTH_PRECOMPILING or compiler.more:
        return None
    header = folder / BINDING
    header.write_text(f'#include "{found[0]}"\n', encoding="utf-8")
    try:
        _make(log, partial(compiler.precompiling, header), header.with_suffix(".h.gch"))
    except (BuildError, OSError):
        return None
    return header


def _compile(compiler: Compiler, log: _Log, source: Path, target: Path, header: Future[Path | None]) -> None:
    binding = _binding(source) is not None
    first = header.result() if binding else None
    _make(log, partial(compiler.compiling, source, binding=binding, header=first), target)


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


def _marker(target: Path) -> Path:
    return target.with_suffix(".failed")


@contextmanager
def _lock(folder: Path, report: Report) -> Iterator[None]:
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "build.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        report("another process compiles the native kernels; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _digest(sources: Path) -> str:
    parts = [*toolchain.FLAGS, toolchain.MACHINE, toolchain.torch_build(), toolchain.processor()]
    return _hash(parts, sources, [path for path in sources.resolve().rglob("*") if path.suffix in (".cpp", ".h")])


def _object_name(compiler: Compiler, source: Path) -> str:
    command = compiler.compiling(source, Path(), binding=_binding(source) is not None)
    parts = [*command, compiler.version, toolchain.torch_build(), toolchain.processor()]
    folder = Path(os.path.commonpath([path.parent for path in _with_headers(source)]))
    return f"{source.stem}-{_hash(parts, folder, list(_with_headers(source)))[:16]}.o"


def _with_headers(source: Path) -> set[Path]:
    """A source and the headers beside it that it includes, directly or not."""
    found, new = set[Path](), {source.resolve()}
    while new:
        found |= new
        new = {(path.parent / name).resolve() for path in new for name in _INCLUDE.findall(path.read_text("utf-8"))}
        new = {path for path in new - found if path.exists()}
    return found


def _hash(parts: list[str], folder: Path, files: list[Path]) -> str:
    state = hashlib.sha256("\0".join(parts).encode())
    for path in sorted(files):
        state.update(path.relative_to(folder.resolve()).as_posix().encode() + b"\0" + path.read_bytes())
    return state.hexdigest()
