"""The newest checkpoint of a training."""

from pathlib import Path

from deepmd_dpa4.errors import UserError


class NoCheckpoint(UserError, FileNotFoundError):
    """There is no file of this name, or no checkpoint in the folder."""


def newest(path: Path, option: str) -> Path:
    """Find the newest checkpoint in the folder of a training, which its file ``checkpoint`` names; a file stays.

    Parameters
    ----------
    path : Path
        File or folder.
    option : str
        What names it, for the error.

    Raises
    ------
    NoCheckpoint
        If no training was in the folder, or its checkpoint is gone.
    """
    if not path.is_dir():
        return path
    if not (path / "checkpoint").is_file():
        raise NoCheckpoint(f"`{option}` is {path} but this folder holds no training: no file `checkpoint`")
    found = path / (path / "checkpoint").read_text(encoding="utf-8").strip()
    if not found.exists():
        raise NoCheckpoint(f"`{option}` is {path}, which names {found}, but there is no such file")
    return found
