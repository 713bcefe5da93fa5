"""Compile the native kernels once for each machine, torch version and state of the sources."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepmd_dpa4.files import write_text
from deepmd_dpa4.ops.native import compiler as toolchain
from deepmd_dpa4.ops.native.checksum import damage
from deepmd_dpa4.ops.native.compiler import Compiler, find_compiler
from deepmd_dpa4.ops.native.library import BuildError, Report, compile_library
from deepmd_dpa4.ops.native.sources import hash_of

SOURCES = Path(__file__).with_name("csrc")
OBJECTS = "objects"
ALLOCATOR = "common/allocator.cpp"
"""Source that sets the allocator of the C library for the whole process; the library can do without it."""


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
    return hash_of(parts, sources, [path for path in sources.resolve().rglob("*") if path.suffix in (".cpp", ".h")])
