"""Labelled frames of a file, with the name of the subset that each belongs to."""

from dataclasses import dataclass
from pathlib import Path

from deepmd_dpa4.tools.data.checks import Rejected
from deepmd_dpa4.tools.data.errors import DataError
from deepmd_dpa4.tools.data.frame import Frame, Record
from deepmd_dpa4.tools.data.labels import Keys, Labels
from deepmd_dpa4.tools.data.sources import format_of, records
from deepmd_dpa4.tools.data.stress import Convention


@dataclass(frozen=True, slots=True)
class Labelled:
    """The frames of a file; those that its reader rejects are left out."""

    frames: tuple[Frame, ...]
    subsets: tuple[str, ...]
    """Value of the subset's key in each frame, empty where none is asked for."""
    records: tuple[Record, ...]
    """What the file says about each frame, besides labels."""

    def __len__(self) -> int:
        return len(self.frames)


def labelled(path: Path, by: str | None = None) -> Labelled:
    """Read the labelled frames of a file, such as extended XYZ.

    Parameters
    ----------
    path : Path
        A file of a format that ``dpa4 data convert`` tells from its name.
    by : str, optional
        Key in the file whose value names the subset of a frame, such as ``config_type``.

    Raises
    ------
    DataError
        If the file cannot be read, labels are ambiguous, or a frame lacks the key.
    FileNotFoundError
        If there is no such file.
    """
    labels = Labels(Keys(), Convention())
    found = [record for record in records(path, format_of(path)) if not isinstance(record, Rejected)]
    return Labelled(tuple(map(labels.frame, found)), tuple(subset(record, by) for record in found), tuple(found))


def subset(record: Record, by: str | None) -> str:
    """Tell the subset of a frame; raises :class:`DataError` if the frame has no such key."""
    if by is None:
        return ""
    if by not in record.values:
        there = ", ".join(sorted(record.values)) or "none"
        raise DataError(f"`--by` is {by!r} but must be one of the keys of {record.place}: {there}")
    return str(record.values[by])
