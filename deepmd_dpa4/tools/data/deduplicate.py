"""Which structures there were already, in eight bytes each."""

from hashlib import blake2b

import numpy as np

from deepmd_dpa4.tools.data.frame import Frame

# Angstrom; positions of one structure written twice differ by less, if at all.
RESOLUTION = 1e-5


def fingerprint(frame: Frame) -> int:
    """Hash to 64 bits: cell, elements, positions and conditions.

    Atoms of one element are in the order of the file, elements sorted.
    """
    order = np.argsort(np.array(frame.symbols), kind="stable")
    cell = np.zeros((3, 3)) if frame.cell is None else frame.cell
    # adding zero turns -0.0 into 0.0
    numbers = np.round(np.concatenate([cell, frame.positions[order]]) / RESOLUTION) + 0.0
    hashed = blake2b(" ".join(sorted(frame.symbols)).encode(), digest_size=8)
    hashed.update(numbers.tobytes())
    for name, value in sorted(frame.conditions.items()):
        hashed.update(name.encode() + (value[order] if name == "aparam" else value).tobytes())
    return int.from_bytes(hashed.digest(), "little")


class Seen:
    """Set of 64-bit integers: sorted arrays, each at least twice as long as the next, and a few recent ones.

    Takes 8 bytes for each member, twice that while arrays are merged. Two different structures out of ten million have
    the same hash with a probability of 3e-6.
    """

    RECENT = 1 << 16

    def __init__(self) -> None:
        self.runs: list[np.ndarray] = []
        self.recent: set[int] = set()

    def add(self, value: int) -> bool:
        """Add a value, and tell whether it was there already."""
        if value in self.recent or any(self.holds(run, value) for run in self.runs):
            return True
        self.recent.add(value)
        if len(self.recent) >= self.RECENT:
            self.merge()
        return False

    @staticmethod
    def holds(run: np.ndarray, value: int) -> bool:
        """Tell whether a sorted array holds a value."""
        place = int(np.searchsorted(run, np.uint64(value)))
        return place < len(run) and int(run[place]) == value

    def merge(self) -> None:
        """Sort the recent ones, and join arrays until each is at least twice as long as the next."""
        self.runs.append(np.sort(np.fromiter(self.recent, dtype=np.uint64, count=len(self.recent))))
        self.recent = set()
        while len(self.runs) > 1 and len(self.runs[-2]) < 2 * len(self.runs[-1]):
            last = self.runs.pop()
            self.runs[-1] = np.sort(np.concatenate([self.runs[-1], last]))
