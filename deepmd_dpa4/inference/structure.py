"""What is evaluated, and what comes out."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepmd_dpa4.charge_spin import ALLOWED, first_impossible

Array = NDArray[np.float64]

CONDITIONS = ("fparam", "aparam", "charge_spin")
"""Attributes of a structure that only some models ask for."""


@dataclass(frozen=True, eq=False)
class Structure:
    """Atoms, and the conditions that some models ask for.

    Parameters
    ----------
    symbols : sequence of str
        Name of the type of each of the n atoms.
    positions : array
        (n, 3), Angstrom.
    cell : array, optional
        Cell vectors in rows, (3, 3), Angstrom.
    pbc : three bool, optional
        Periodicity along each cell vector; by default all directions are periodic if there is a cell. The vector of a
        direction that is not periodic does not matter, it may be zero.
    fparam : array, optional
        Frame parameters, (numb_fparam,).
    aparam : array, optional
        Atomic parameters, (n, numb_aparam).
    charge_spin : array, optional
        Charge and spin multiplicity, (2,).

    Raises
    ------
    ValueError
        If an array has another shape or a number that is not finite, or charge and multiplicity are no integers that
        models know.
    """

    symbols: Sequence[str]
    positions: ArrayLike
    cell: ArrayLike | None = None
    pbc: Sequence[bool] | None = None
    fparam: ArrayLike | None = None
    aparam: ArrayLike | None = None
    charge_spin: ArrayLike | None = None

    def __post_init__(self) -> None:
        atoms = len(self.symbols)
        self._store("positions", (atoms, 3))
        self._store("cell", (3, 3))
        self._store("charge_spin", (2,))
        self._store("fparam", None)
        self._store("aparam", None)
        if self.charge_spin is not None and first_impossible(np.asarray(self.charge_spin)[None]) is not None:
            raise ValueError(
                f"`charge_spin` is {np.asarray(self.charge_spin).tolist()} but must hold {ALLOWED}; without it the "
                "default of the model is used"
            )
        if len(self.periodic) != 3:
            raise ValueError(f"`pbc` is {self.pbc} but must hold three booleans")

    @property
    def periodic(self) -> tuple[bool, ...]:
        """Periodicity along each cell vector."""
        return (self.cell is not None,) * 3 if self.pbc is None else tuple(bool(flag) for flag in self.pbc)

    def _store(self, name: str, shape: tuple[int, ...] | None) -> None:
        """Make an attribute an array of float64 and check it."""
        value = getattr(self, name)
        if value is None:
            return
        array = np.asarray(value, dtype=np.float64)
        if shape is not None and array.shape != shape:
            raise ValueError(f"`{name}` has shape {array.shape} but must have {shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"`{name}` holds numbers that are not finite (NaN or infinity)")
        object.__setattr__(self, name, array)


@dataclass(frozen=True, eq=False)
class Prediction:
    """Results of a structure of n atoms; eV and Angstrom."""

    energy: float
    """eV."""
    forces: Array
    """(n, 3)."""
    virial: Array
    """Minus the derivative of the energy by the strain, (3, 3); the stress is minus the virial over the volume."""
    atom_energies: Array
    """Parts of the energy, (n,)."""
    atom_virials: Array | None = None
    """Parts of the virial, (n, 3, 3), half of each edge at each end; None unless asked for."""
    energy_uncertainty: float | None = None
    """Standard deviation of the energy, eV; None if the file of the model holds no uncertainties."""
    energies_uncertainty: Array | None = None
    """Standard deviations of the parts of the energy, (n,), eV; None as the former. They do not add up to it."""
    last_layer: Array | None = None
    """What the last layer of the fitting network is linear in, (n, W); None unless asked for."""


def conditions_among(values: Mapping[str, Any], widths: Mapping[str, int], where: str) -> dict[str, Array]:
    """Pick the conditions that a model knows from the named values of a frame.

    Parameters
    ----------
    values : mapping
        Under the names of :data:`CONDITIONS`; ``charge`` and ``spin`` stand for ``charge_spin`` too.
    widths : mapping
        How many numbers the model takes of each; 0 of what it does not know.
    where : str
        Place of the values, for the error.

    Raises
    ------
    ValueError
        If one of ``charge`` and ``spin`` is there without the other.
    """
    found = {name: values[name] for name in CONDITIONS if name in values and widths[name] > 0}
    given = [name for name in ("charge", "spin") if name in values]
    if widths["charge_spin"] > 0 and "charge_spin" not in found and given:
        if len(given) < 2:
            raise ValueError(f"{where} has {given[0]!r} alone but must have both of 'charge' and 'spin'")
        found["charge_spin"] = [values["charge"], values["spin"]]
    # files turn a list of one number into a number
    arrays = {name: np.atleast_1d(np.array(value, dtype=np.float64)) for name, value in found.items()}
    return {name: array[:, None] if name == "aparam" and array.ndim == 1 else array for name, array in arrays.items()}


@contextmanager
def name_structure_in_errors(number: int) -> Iterator[None]:
    """Say in the message of a ValueError which structure it is about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"structure {number}: {error}") from error
