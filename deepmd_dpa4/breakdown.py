"""Errors of a model by element and by system, summed frame by frame."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

MOST_SYSTEMS = 30
QUANTITIES = ("energy", "force", "virial")
FRAMES_PER_ELEMENT = 3
"""Frames for each element that a shift of the energies is fitted to, at least."""


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


@dataclass(frozen=True)
class Shift:
    """Constants that, added to the energy of each atom, bring a model to the zero of the labels.

    Parameters
    ----------
    constants : dict[str, float]
        For each element, eV.
    rmse, mae : float
        Errors of the energy that remain, eV/atom.
    """

    constants: dict[str, float]
    rmse: float
    mae: float


@dataclass
class Breakdown:
    """Sums for every element and every system of data, and the energy error of every composition."""

    elements: dict[str, Sums] = field(default_factory=dict)
    systems: dict[str, Sums] = field(default_factory=dict)
    compositions: list[Counter[str]] = field(default_factory=list)
    energies: list[float] = field(default_factory=list)

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
            self.compositions.append(Counter(symbols))
            self.energies.append(energy)
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

    def shift(self) -> Shift | None:
        r"""Fit a constant for each element to the energy errors, by least squares over frames.

        .. math:: \min_s \sum_f \left( \frac{\Delta E_f + \sum_k n_{fk} s_k}{N_f} \right)^2

        Two calculations differ by such constants where their pseudopotentials or their zeros of the energy do. Of
        elements whose numbers vary together only the sum is known; the smallest constants are taken.

        Returns
        -------
        Shift or None
            None for fewer than three frames for each element, to which some constants always fit.
        """
        names = sorted({name for composition in self.compositions for name in composition})
        if len(self.energies) < FRAMES_PER_ELEMENT * max(1, len(names)):
            return None
        counts = np.array([[composition[name] for name in names] for composition in self.compositions], dtype=float)
        atoms = counts.sum(axis=1)
        errors, shares = np.array(self.energies) / atoms, counts / atoms[:, None]
        constants = np.linalg.lstsq(shares, -errors, rcond=None)[0]
        left = errors + shares @ constants
        rmse, mae = float(np.sqrt(np.mean(left**2))), float(np.abs(left).mean())
        return Shift(dict(zip(names, constants.tolist(), strict=True)), rmse, mae)
