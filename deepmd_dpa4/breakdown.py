"""Errors of a model by element and by system, summed frame by frame."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

MOST_SYSTEMS = 30
QUANTITIES = ("energy", "force", "virial")


@dataclass
class Sums:
    """Squares of errors of one element or system.

    ``squares`` and ``counts`` belong to energy and virial per atom (eV/atom) and to force components (eV/Angstrom).
    """

    frames: int = 0
    atoms: int = 0
    squares: dict[str, float] = field(default_factory=lambda: dict.fromkeys(QUANTITIES, 0.0))
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(QUANTITIES, 0))

    def add(self, quantity: str, errors: np.ndarray) -> None:
        """Take the errors of a frame, or of some of its atoms."""
        self.squares[quantity] += float(np.sum(errors**2))
        self.counts[quantity] += int(np.size(errors))

    def rmse(self, quantity: str) -> float:
        """Return the root of the mean square, NaN where there are no labels."""
        return math.sqrt(self.squares[quantity] / self.counts[quantity]) if self.counts[quantity] else math.nan


@dataclass
class Breakdown:
    """Sums for every element and every system of data."""

    elements: dict[str, Sums] = field(default_factory=dict)
    systems: dict[str, Sums] = field(default_factory=dict)

    def add(
        self,
        system: str,
        symbols: Sequence[str],
        energy: float | None,
        force: np.ndarray | None,
        virial: np.ndarray | None,
    ) -> None:
        """Take the errors of a frame, predicted minus reference; None without a label.

        Parameters
        ----------
        system : str
            Folder of the frame.
        symbols : sequence of str
            Elements of its atoms.
        energy, force, virial
            Of the frame, eV; of each atom (n, 3), eV/Angstrom; of the frame (3, 3), eV.
        """
        whole = self.systems.setdefault(system, Sums())
        whole.frames += 1
        whole.atoms += len(symbols)
        if energy is not None:
            whole.add("energy", np.array([energy]) / len(symbols))
        if virial is not None:
            whole.add("virial", virial / len(symbols))
        if force is not None:
            whole.add("force", force)
        names = np.array(symbols)
        for symbol in dict.fromkeys(symbols):
            part = self.elements.setdefault(symbol, Sums())
            part.frames += 1
            part.atoms += int(np.count_nonzero(names == symbol))
            if force is not None:
                part.add("force", force[names == symbol])

    def rows(self) -> Iterator[tuple[str, str, Sums]]:
        """Yield kind, name and sums: elements, then systems, the largest force errors first."""
        for symbol, sums in self.elements.items():
            yield "element", symbol, sums
        order = sorted(self.systems.items(), key=lambda item: -np.nan_to_num(item[1].rmse("force"), nan=-1.0))
        for name, sums in order[:MOST_SYSTEMS]:
            yield "system", name, sums
