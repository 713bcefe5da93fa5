"""A potential with equations, and faults that can be planted in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from deepmd_dpa4.config.elements import contact
from deepmd_dpa4.inference.structure import Prediction, Structure

WIDTH = 2.0
"""Of the wells, 1/Angstrom."""


@dataclass
class Analytic:
    """Morse wells of all pairs at the sum of their covalent radii, smooth at the cutoff.

    The attributes in the second half are faults: ``bump`` (height in eV, place and width in Angstrom) on the pair
    ``bumped``, or on all; an energy of three atoms; a force that turns atoms around z (eV/A^2); energies that depend on
    the number of atoms, on the direction, on the order; no smoothing.
    """

    type_map: list[str]
    rcut: float = 5.0
    precision: str = "float64"
    depth: float = 1.0
    bump: tuple[float, float, float] | None = None
    bumped: frozenset[str] | None = None
    three: float = 0.0
    twist: float = 0.0
    crowd: float = 0.0
    slant: float = 0.0
    order: float = 0.0
    cut: bool = False
    broken: bool = False
    calls: int = 0
    untrained: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(elements=set()))
    widths: dict[str, int] = field(default_factory=lambda: {"fparam": 0, "aparam": 0, "charge_spin": 0})
    weights: None = None

    def evaluate(self, structures: Sequence[Structure]) -> list[Prediction]:
        self.calls += 1
        return [self._one(structure) for structure in structures]

    def _one(self, structure: Structure) -> Prediction:
        positions = np.asarray(structure.positions)
        vector = edges(structure, positions, self.rcut)
        square = (vector * vector).sum(axis=-1)
        first, second, image = np.nonzero((square > 1e-18) & (square < self.rcut**2))
        vector, r = vector[first, second, image], np.sqrt(square[first, second, image])
        types = np.array([self.type_map.index(symbol) for symbol in structure.symbols])
        energy, slope = self._pairs(r, types[first], types[second])
        forces = np.zeros_like(positions)
        np.add.at(forces, first, slope[:, None] * vector / r[:, None])
        atoms = np.bincount(first, 0.5 * energy, minlength=len(positions))
        centred = positions - positions.mean(axis=0)
        forces += self.twist * np.cross([0.0, 0.0, 1.0], centred)
        total = atoms.sum() + self.crowd * len(positions) ** 2
        total += self.slant * float(np.sum(centred[:, 0] ** 2))
        total += self.order * float(np.arange(len(positions)) @ np.linalg.norm(centred, axis=1))
        if len(positions) == 3 and len(r) == 6:
            total += self.three
        if self.broken:
            forces[:], total = np.nan, np.nan
        return Prediction(float(total), forces, np.zeros((3, 3)), atoms)

    def _pairs(self, r: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies and their slopes."""
        rest = self._table(rest_of)[first, second]
        depth = self._table(lambda a, b: 4.7 if a == b == "H" else self.depth)[first, second]
        decay = np.exp(-WIDTH * (r - rest))
        energy, slope = depth * (decay**2 - 2 * decay), -2 * WIDTH * depth * (decay**2 - decay)
        if self.bump is not None:
            height, place, width = self.bump
            bump = height * np.exp(-(((r - place) / width) ** 2))
            if self.bumped is not None:
                bump *= self._table(lambda a, b: float({a, b} == self.bumped))[first, second]
            energy, slope = energy + bump, slope - 2 * bump * (r - place) / width**2
        if self.cut:
            return energy, slope
        x = 1 - (r / self.rcut) ** 2
        return energy * x**3, slope * x**3 - energy * 6 * r / self.rcut**2 * x**2

    def _table(self, value: Callable[[str, str], float]) -> np.ndarray:
        """A number for each pair of types."""
        return np.array([[value(a, b) for b in self.type_map] for a in self.type_map])


def rest_of(first: str, second: str) -> float:
    """Distance at rest, Angstrom."""
    return 0.74 if first == second == "H" else contact(first, second) or 1.0


def edges(structure: Structure, positions: np.ndarray, rcut: float) -> np.ndarray:
    """Vectors to all atoms and images that may be near, (n, n, images, 3)."""
    shifts = np.zeros((1, 3))
    if structure.cell is not None:
        heights = 1 / np.linalg.norm(np.linalg.inv(structure.cell), axis=0)
        # displaced atoms may lie outside the cell
        reach = np.ceil((rcut + 0.5) / heights).astype(int)
        grid = np.meshgrid(*[np.arange(-n, n + 1) for n in reach], indexing="ij")
        shifts = np.stack(grid, axis=-1).reshape(-1, 3) @ structure.cell
    return positions[None, :, None] + shifts[None, None] - positions[:, None, None]
