"""Uncertainties inside model files: an entry of the archive that torch and DeePMD-kit pass over.

A checkpoint or a frozen model is a zip archive. The entry lies behind everything that torch wrote, which stays as it
is, byte for byte, and carries a hash of it: in a file with other contents the entry is void.
"""

import hashlib
import io
import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np

from deepmd_dpa4.checkpoint.archive import COMPILED, Archive, FileError, open_archive
from deepmd_dpa4.checkpoint.read import SINGLE, is_legacy
from deepmd_dpa4.errors import UserError
from deepmd_dpa4.files import replacing
from deepmd_dpa4.uncertainty.rigidity import Rigidity

FOLDER = "extra/dpa4_uncertainty"
VERSION = 1
CHUNK = 2**22


class UncertaintyError(UserError, ValueError):
    """A model file holds no uncertainties that can be used; the message says why, and what makes them."""


@dataclass(frozen=True, eq=False)
class Entry:
    """Uncertainties of a branch.

    Parameters
    ----------
    rigidity : Rigidity
        What they are computed from.
    frames, calibration : int
        Frames of training data, and of the data whose errors set the scale.
    validated : bool
        Whether the latter were validation data.
    """

    rigidity: Rigidity
    frames: int
    calibration: int
    validated: bool


def read_entry(path: Path, head: str | None) -> Entry:
    """Read the uncertainties of a file.

    Parameters
    ----------
    path : Path
        Checkpoint ``.pt`` or frozen file ``.pth``.
    head : str, optional
        Branch of a multi-task checkpoint.

    Raises
    ------
    UncertaintyError
        If there are none, or the file has changed since they were computed.
    FileError
        If the file is damaged.
    """
    command = f"`dpa4 uncertainty {path} DATA --validation DATA" + (f" --head {head}`" if head else "`")
    if is_legacy(path):
        raise UncertaintyError(f"{path} holds no uncertainties: {command} adds them")
    with open_archive(path) as archive:
        if archive.find(_name(head)) is None:
            raise UncertaintyError(f"{path} holds no uncertainties: {command} adds them")
        data, now = archive.read(_name(head)), content_hash(archive)
    entry, then = _decode(path, data)
    if then != now:
        raise UncertaintyError(
            f"the uncertainties in {path} were computed for other weights than it holds: {command} computes them again"
        )
    return entry


def write_entry(source: Path, output: Path, head: str | None, entry: Entry) -> None:
    """Write a model file again with uncertainties of a branch in place of earlier ones.

    Parameters
    ----------
    source, output : Path
        Model file, and the one to write, which may be the same.
    head : str, optional
        Branch of a multi-task checkpoint.
    entry : Entry
        The uncertainties.

    Raises
    ------
    FileError
        If the file is damaged, compiled, or in torch's old format.
    WriteError
        If there is no space, or no permission.
    """
    if is_legacy(source):
        raise FileError(f"{source} is in the old format of torch, which has no room for uncertainties: save it again")
    with open_archive(source) as archive:
        if archive.kind == COMPILED:
            raise FileError(f"{source} is a {COMPILED} file, which uncertainties are not for")
        root = archive.entries.namelist()[0].partition("/")[0]
        data = _encode(entry, content_hash(archive))
    with replacing(output) as partial:
        shutil.copyfile(source, partial)
        with zipfile.ZipFile(partial, "a") as archive_file:
            _place(archive_file, f"{root}/{_name(head)}", data)


def has_entry(path: Path, head: str | None) -> bool:
    """Tell whether a model file holds uncertainties of a branch, valid or not."""
    return _name(head) in (name.partition("/")[2] for name in _names(path))


def has_any_entry(path: Path) -> bool:
    """Tell whether a model file holds uncertainties of any branch."""
    return any(map(_is_ours, _names(path)))


def _names(path: Path) -> list[str]:
    if not zipfile.is_zipfile(path):
        return []
    with zipfile.ZipFile(path) as entries:
        return entries.namelist()


def content_hash(archive: Archive) -> str:
    """Hash everything in a model file but uncertainties: SHA-256 over names and contents in alphabetic order."""
    found = hashlib.sha256()
    for name in sorted(archive.entries.namelist()):
        if _is_ours(name):
            continue
        # the folder is named after the file that torch wrote
        found.update(f"{name.partition('/')[2]}\0{archive.entries.getinfo(name).file_size}\0".encode())
        with archive.entries.open(name) as file:
            while part := file.read(CHUNK):
                found.update(part)
    return found.hexdigest()


def _place(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Put an entry behind those of torch, among ours of other branches."""
    ours = {entry.filename: archive.read(entry) for entry in archive.filelist if _is_ours(entry.filename)}
    kept = [entry for entry in archive.filelist if entry.filename not in ours]
    # ours are last, so what follows torch's entries can be written once more without moving these: their alignment
    # is what lets torch map them into memory
    archive.start_dir = min((archive.NameToInfo[own].header_offset for own in ours), default=archive.start_dir)
    archive.filelist[:] = kept
    archive.NameToInfo = {entry.filename: entry for entry in kept}
    for own, content in (ours | {name: data}).items():
        archive.writestr(own, content)


def _is_ours(name: str) -> bool:
    return name.partition("/")[2].startswith(f"{FOLDER}/")


def _name(head: str | None) -> str:
    return f"{FOLDER}/{quote(head or SINGLE, safe='')}.npz"


def _encode(entry: Entry, content: str) -> bytes:
    rigidity = entry.rigidity
    about = {
        "version": VERSION,
        "content": content,
        "ridge": rigidity.ridge,
        "scale": rigidity.scale,
        "frames": entry.frames,
        "calibration": entry.calibration,
        "validated": entry.validated,
    }
    buffer = io.BytesIO()
    np.savez(buffer, gram=rigidity.gram, about=np.frombuffer(json.dumps(about).encode(), np.uint8))
    return buffer.getvalue()


def _decode(path: Path, data: bytes) -> tuple[Entry, str]:
    """Uncertainties, and the hash of the file that they were computed for."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            gram, about = np.array(arrays["gram"], np.float64), json.loads(arrays["about"].tobytes())
        if about["version"] != VERSION:
            raise UncertaintyError(
                f"the uncertainties in {path} have version {about['version']}, this deepmd-dpa4 reads {VERSION}"
            )
        rigidity = Rigidity(gram, float(about["ridge"]), float(about["scale"]))
        if gram.shape != (len(gram), len(gram)) or not np.isfinite(gram).all():
            raise ValueError(f"the matrix has shape {gram.shape}, or numbers that are not finite")
        if not (0 < rigidity.ridge < np.inf and 0 < rigidity.scale < np.inf):
            raise ValueError(f"ridge {rigidity.ridge}, scale {rigidity.scale}")
        entry = Entry(rigidity, int(about["frames"]), int(about["calibration"]), bool(about["validated"]))
        return entry, str(about["content"])
    except UncertaintyError:
        raise
    except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise FileError(f"{path} is damaged: its uncertainties cannot be read: {error}") from error
