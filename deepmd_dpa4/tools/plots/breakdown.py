"""Errors of a model by element and by system, summed frame by frame."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from deepmd_dpa4.inference.structure import Prediction
from deepmd_dpa4.tools.data.frame import Frame

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

    def add(self, system: str, frame: Frame, prediction: Prediction) -> None:
        """Take a frame of a system and its prediction.

        Parameters
        ----------
        system : str
            Folder of the frame.
        frame : Frame
            Labels.
        prediction : Prediction
            What the model says.
        """
        whole = self.systems.setdefault(system, Sums())
        atoms = len(frame.symbols)
        whole.frames += 1
        whole.atoms += atoms
        if frame.energy is not None:
            whole.add("energy", np.array([prediction.energy - frame.energy]) / atoms)
        if frame.virial is not None:
            whole.add("virial", (prediction.virial - frame.virial) / atoms)
        errors = None if frame.force is None else prediction.forces - frame.force
        if errors is not None:
            whole.add("force", errors)
        symbols = np.array(frame.symbols)
        for symbol in dict.fromkeys(frame.symbols):
            part = self.elements.setdefault(symbol, Sums())
            part.frames += 1
            part.atoms += int(np.count_nonzero(symbols == symbol))
            if errors is not None:
                part.add("force", errors[symbols == symbol])

    def rows(self) -> Iterator[tuple[str, str, Sums]]:
        """Yield kind, name and sums: elements, then systems, the largest force errors first."""
        for symbol, sums in self.elements.items():
            yield "element", symbol, sums
        order = sorted(self.systems.items(), key=lambda item: -np.nan_to_num(item[1].rmse("force"), nan=-1.0))
        for name, sums in order[:MOST_SYSTEMS]:
            yield "system", name, sums
