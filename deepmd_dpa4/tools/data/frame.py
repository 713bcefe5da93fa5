"""One frame, as a file holds it and as it is written."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from deepmd_dpa4.config.elements import ELEMENTS

STRUCTURE, LABELS = ("positions", "cell"), ("energy", "force", "virial")
NUMBERS = {symbol: number for number, symbol in enumerate(ELEMENTS)}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a frame comes from: file or folder, and position in it, counted from 0."""

    source: str
    index: int

    def __str__(self) -> str:
        return f"{self.source}, frame {self.index}"


@dataclass(frozen=True, slots=True)
class Record:
    """A frame with every value that its file gives, under the names of the file."""

    place: Place
    symbols: tuple[str, ...]
    positions: np.ndarray
    """(atoms, 3), Angstrom."""
    cell: np.ndarray
    """(3, 3), one vector per row, Angstrom; zero where there is none."""
    periodic: tuple[bool, bool, bool]
    values: dict[str, Any]
    """Candidates for labels."""
    energy_of_forces: str | None = None
    """Name of the energy whose derivative the forces are, where the format has several."""
    conditions: dict[str, np.ndarray] = field(default_factory=dict)
    """As in :class:`Frame`."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame with its labels; those that it lacks are ``None``."""

    place: Place
    symbols: tuple[str, ...]
    positions: np.ndarray
    """(atoms, 3), Angstrom."""
    cell: np.ndarray | None
    """(3, 3), one vector per row, Angstrom; ``None`` for a molecule."""
    energy: float | None = None
    """eV."""
    force: np.ndarray | None = None
    """(atoms, 3), eV/Angstrom."""
    virial: np.ndarray | None = None
    """(3, 3), eV: minus the volume times the stress that is positive under tension."""
    conditions: dict[str, np.ndarray] = field(default_factory=dict)
    """What some models ask for besides: ``fparam`` (k,), ``aparam`` (atoms, k), ``charge_spin`` (2,)."""

    @property
    def volume(self) -> float:
        """Volume of the cell, Angstrom^3; infinite for a molecule."""
        return float("inf") if self.cell is None else abs(float(np.linalg.det(self.cell)))

    def not_finite(self) -> tuple[str, ...]:
        """Name the parts that hold NaN or infinity."""
        values = ((name, getattr(self, name)) for name in (*STRUCTURE, *LABELS))
        return tuple(name for name, value in values if value is not None and not np.isfinite(value).all())

    def with_finite_labels(self) -> "Frame":
        """Leave out the labels that hold NaN or infinity, by which many programs mean that there is none."""
        absent = self.not_finite()
        return replace(
            self,
            energy=None if "energy" in absent else self.energy,
            force=None if "force" in absent else self.force,
            virial=None if "virial" in absent else self.virial,
        )

    @property
    def composition(self) -> tuple[tuple[str, int], ...]:
        """Pairs of symbol and number of atoms, in the order of :func:`by_element`."""
        return tuple((symbol, self.symbols.count(symbol)) for symbol in by_element(set(self.symbols)))


def by_element(symbols: set[str]) -> list[str]:
    """Sort symbols by atomic number; names that are no elements follow in alphabetic order."""
    return sorted(symbols, key=lambda symbol: (NUMBERS.get(symbol, len(NUMBERS)), symbol))


def formula(composition: tuple[tuple[str, int], ...]) -> str:
    """Write a formula such as ``H2O1``, with every number."""
    return "".join(f"{symbol}{count}" for symbol, count in composition)
