"""The rows of a learning curve, also while a training writes it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deepmd_dpa4.tools.plots.lcurve import COLUMN, is_row

LOCKS = Path("/proc/locks")
PARTS = {"trn": "training", "val": "validation"}


@dataclass(frozen=True, slots=True)
class Row:
    """Errors and learning rate at one step."""

    step: int
    values: dict[str, float]
    """By name: ``validation/rmse_f``, with several branches ``validation/rmse_f/water``; ``lr``. Without NaN."""


class CurveReader:
    """Reads what was added to an ``lcurve.out`` since it was asked last.

    Steps come once each and in their order: a restarted training writes some of them again, which are left out.

    Parameters
    ----------
    path : Path
        The file, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: list[str] = []
        self.step = -1
        self._position = 0

    def rows(self) -> Iterator[Row]:
        """Yield new rows; a line that is being written waits until it is complete."""
        if not self.path.is_file():
            return
        if self.path.stat().st_size < self._position:  # another training has begun
            self.names, self.step, self._position = [], -1, 0
        with self.path.open("rb") as file:
            file.seek(self._position)
            added = file.read()
        complete = added[: added.rfind(b"\n") + 1]
        self._position += len(complete)
        for line in complete.decode("utf-8", errors="replace").splitlines():
            words = line.split()
            if words[:2] == ["#", "step"]:
                self.names = words[1:]
            elif self.names and is_row(words, len(self.names)) and int(float(words[0])) > self.step:
                self.step = int(float(words[0]))
                numbers = zip(self.names[1:], map(float, words[1:]))
                yield Row(self.step, {name_of(name): value for name, value in numbers if value == value})

    def is_being_written(self) -> bool:
        """Tell whether a training of this package on this machine holds the file, see ``host/folder_lock.py``.

        The table of locks is read, because a lock of our own, however short, would be in the way of a training.
        """
        try:
            found = self.path.stat()
            locks = LOCKS.read_text(encoding="ascii").splitlines()
        except OSError:
            return False
        place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        return any(place in line.split() for line in locks)


def name_of(column: str) -> str:
    """Name a quantity after the part of the data first, so that programs put equal parts together."""
    match = COLUMN.fullmatch(column)
    if match is None:
        return column
    branch = f"/{match['branch']}" if match["branch"] else ""
    return f"{PARTS[match['part']]}/{match['error']}{match['what'] or ''}{branch}"
