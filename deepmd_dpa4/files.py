"""Files that appear under their name when they are complete: the only way in which this package writes."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from deepmd_dpa4.errors import UserError

LEAST_SPACE = 2**16
"""Bytes; where fewer are left, an error of a library that does not say why comes from the full disk."""
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


class WriteError(UserError, OSError):
    """A file cannot be written; the message names it and says why."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a place for a file or folder that replaces ``path`` when the block ends without an error, and else vanishes.

    The place lies on the same disk, in a hidden folder beside ``path``. What was written there is on the disk before it
    gets the name, so that a loss of power leaves the old or the new contents. A link is replaced, not followed.

    Parameters
    ----------
    path : Path
        Name of the result; its folder exists.

    Raises
    ------
    WriteError
        If there is no space, or no permission.
    """
    try:
        hidden = TemporaryDirectory(
            prefix=f".{path.name[:100]}.", suffix=".partial", dir=path.parent, ignore_cleanup_errors=True
        )
    except OSError as error:
        raise WriteError(f"{path} cannot be written: {error.strerror}") from error
    with hidden as folder:
        partial = Path(folder) / path.name
        try:
            yield partial
        except (OSError, RuntimeError, ValueError) as error:
            reason = _reason_of_the_disk(error, folder)
            if reason is None:
                raise
            raise WriteError(f"{path} cannot be written: {reason}") from error
        try:
            _store(partial)
            if path.is_file():
                shutil.copymode(path, partial)
            partial.replace(path)
        except OSError as error:
            raise WriteError(f"{path} cannot be written: {error.strerror}") from error
        sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8; raises as :func:`replacing`."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write bytes; raises as :func:`replacing`."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def append_text(path: Path, text: str) -> None:
    """Add whole lines in UTF-8 to a table that grows while a program runs.

    Raises
    ------
    WriteError
        If there is no space, or no permission.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise WriteError(f"{path} cannot be written: {error.strerror}") from error


def is_full(folder: Path) -> bool:
    """Tell whether the disk of a folder has no space left."""
    return shutil.disk_usage(folder).free < LEAST_SPACE


def _reason_of_the_disk(error: Exception, folder: str) -> str | None:
    """Why the disk took no more, or None if the error is another one."""
    if isinstance(error, UserError):
        return None
    if isinstance(error, OSError) and error.errno in OF_THE_DISK:
        return os.strerror(error.errno)
    # libraries in C++ tell of an unexpected position, numpy of items that it could not write
    return os.strerror(errno.ENOSPC) if is_full(Path(folder)) else None


def _store(path: Path) -> None:
    """Bring a file, or everything in a folder, to the disk."""
    for part in path.rglob("*") if path.is_dir() else ():
        sync(part)
    sync(path)


def sync(path: Path) -> None:
    """Bring the contents of a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # file systems that cannot do this for folders are no reason to fail
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
