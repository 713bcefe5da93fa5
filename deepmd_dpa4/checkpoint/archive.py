"""Zip archives of torch, looked into before anything reads them."""

import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepmd_dpa4.errors import UserError

SLACK = 64 * 2**20
"""Bytes by which the entries of an archive may exceed its size: torch does not compress what it writes."""

ABOUT = "extra/dpa4.json"
"""Entry in which a frozen file of ours says what it is."""
CHECKPOINT, SCRIPT, COMPILED = "checkpoint", "TorchScript", "compiled"


class FileError(UserError, ValueError):
    """A file cannot be read; the message names it and says what is wrong."""


@dataclass(frozen=True)
class Archive:
    """An open archive of torch.

    Parameters
    ----------
    path : Path
        The file, for messages.
    entries : zipfile.ZipFile
        Its contents.
    """

    path: Path
    entries: zipfile.ZipFile

    @property
    def kind(self) -> str:
        """Tell ``checkpoint``, ``TorchScript`` or ``compiled``, by contents; the suffix does not matter.

        Raises
        ------
        FileError
            If it is none of them.
        """
        names = [name.partition("/")[2] or name for name in self.entries.namelist()]
        if "extra/metadata.json" in names or any("aotinductor/" in name for name in names):
            return COMPILED
        if "constants.pkl" in names and any(name.startswith("code/") for name in names):
            return SCRIPT
        if "data.pkl" in names:
            return CHECKPOINT
        raise FileError(f"{self.path} is a zip archive but none of torch")

    def verify(self) -> None:
        """Compare all contents with their checksums, which torch writes and never reads.

        Raises
        ------
        FileError
            If an entry is damaged.
        """
        try:
            damaged = self.entries.testzip()
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
            raise FileError(f"{self.path} is damaged: {error}") from error
        if damaged is not None:
            raise FileError(f"{self.path} is damaged: the checksum of {damaged} does not fit its contents")

    def find(self, name: str) -> str | None:
        """Return the full name of an entry below the folder that torch puts everything into."""
        return next((full for full in self.entries.namelist() if full.partition("/")[2] == name), None)

    def read(self, name: str) -> bytes:
        """Return the contents of an entry below that folder.

        Raises
        ------
        FileError
            If it is missing or damaged.
        """
        full = self.find(name)
        if full is None:
            raise FileError(f"{self.path} has no entry {name}")
        try:
            return self.entries.read(full)
        except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, NotImplementedError, ValueError) as error:
            raise FileError(f"{self.path} is damaged: {name}: {error}") from error

    def json(self, name: str) -> dict[str, Any]:
        """Read a JSON object, empty if there is no such entry; raises :class:`FileError` if it is something else."""
        if self.find(name) is None:
            return {}
        try:
            value = json.loads(self.read(name))
        except (ValueError, RecursionError) as error:
            raise FileError(f"{self.path} is damaged: {name} is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise FileError(f"{self.path} is damaged: {name} holds no JSON object")
        return value


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open an archive and compare its contents with their checksums; nothing in it is interpreted.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileError
        If it is not a zip archive, incomplete, damaged, or would unpack to more than torch writes.
    """
    if not path.is_file():
        raise FileNotFoundError(f"`FILE` is {path} but there is no such file")
    try:
        entries = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        with path.open("rb") as file:
            start = file.read(2)
        what = "is cut short or damaged" if start == b"PK" else "is not an archive of torch"
        raise FileError(f"{path} {what}: {error}") from error
    with entries:
        unpacked = sum(entry.file_size for entry in entries.infolist())
        if unpacked > path.stat().st_size + SLACK:
            raise FileError(f"{path} would unpack to {unpacked} bytes, more than a file of torch can hold")
        archive = Archive(path, entries)
        archive.verify()
        yield archive
