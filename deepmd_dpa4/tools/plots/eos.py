"""Energy against volume, with a Birch-Murnaghan equation of state."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.inference.structure import Structure
from deepmd_dpa4.tools.data.errors import DataError
from deepmd_dpa4.tools.plots.style import COLOURS, picture

GPA = 160.21766208


@dataclass(frozen=True, slots=True)
class EnergyVolume:
    """Energies of a scaled cell and the fit through them, per atom."""

    volume: np.ndarray
    """Angstrom^3."""
    energy: np.ndarray
    """eV."""
    v0: float
    """Volume of lowest energy, Angstrom^3."""
    e0: float
    """Energy there, eV."""
    b0: float
    """Bulk modulus there, GPa."""
    parameters: tuple[float, ...]
    """E0, B0, B0' and V0 of the Birch-Murnaghan curve, eV and Angstrom."""

    def fitted(self, volume: np.ndarray) -> np.ndarray:
        """Evaluate the curve at other volumes, eV."""
        from ase.eos import birchmurnaghan

        return birchmurnaghan(volume, *self.parameters)

    @property
    def deviation(self) -> float:
        """Root mean square of the energies minus the curve, eV."""
        return float(np.sqrt(np.mean((self.energy - self.fitted(self.volume)) ** 2)))


def energy_volume(
    evaluator: Evaluator, atoms: Any, strain: float, points: int, charge_spin: Sequence[float] | None = None
) -> EnergyVolume:
    """Scale a cell with the atoms in it and fit a third-order Birch-Murnaghan curve.

    Parameters
    ----------
    evaluator : Evaluator
        The model.
    atoms : ase.Atoms
        Periodic in three directions; the shape of the cell and fractional coordinates stay.
    strain : float
        Volumes from ``1 - strain`` to ``1 + strain`` times that of the cell.
    points : int
        Number of volumes, at least 5.
    charge_spin : sequence of float, optional
        Charge and spin multiplicity, for models that ask for them.

    Raises
    ------
    DataError
        If the structure is not periodic, a number is out of range, or the lowest energy is not inside the range.
    """
    from ase.eos import EquationOfState

    if not atoms.pbc.all():
        raise DataError("`STRUCTURE` is not periodic but must be so in all three directions")
    if not 0 < strain < 1:
        raise DataError(f"`--strain` is {strain} but must be between 0 and 1")
    if points < 5:
        raise DataError(f"`--points` is {points} but must be at least 5")
    factors = np.linspace(1 - strain, 1 + strain, points)
    fractional, symbols = atoms.get_scaled_positions(wrap=False), atoms.get_chemical_symbols()
    cells = [np.array(atoms.cell[:]) * factor ** (1 / 3) for factor in factors]
    structures = [Structure(symbols, fractional @ cell, cell, charge_spin=charge_spin) for cell in cells]
    energy = np.array([prediction.energy for prediction in evaluator.evaluate(structures)]) / len(atoms)
    volume = factors * atoms.get_volume() / len(atoms)
    lowest = int(energy.argmin())
    if lowest in (0, points - 1):
        side = "smaller" if lowest == 0 else "larger"
        raise DataError(
            f"the lowest of the energies is at {volume[lowest]:.3f} A^3/atom, the end of the range: take a wider "
            f"`--strain` or a {side} cell"
        )
    fit = EquationOfState(volume, energy, eos="birchmurnaghan")
    try:
        v0, e0, b0 = fit.fit(warn=False)
    except (RuntimeError, ValueError) as error:
        raise DataError(f"no Birch-Murnaghan curve fits the energies: {error}") from None
    return EnergyVolume(volume, energy, float(v0), float(e0), float(b0) * GPA, tuple(fit.eos_parameters))


def draw(curve: EnergyVolume, name: str, output: Path) -> None:
    """Draw points and fit, relative to the lowest energy."""
    fine = np.linspace(curve.volume[0], curve.volume[-1], 300)
    with picture(output, title=name) as ((axes,),):
        axes.plot(fine, 1000 * (curve.fitted(fine) - curve.e0), color=COLOURS[1])
        axes.plot(curve.volume, 1000 * (curve.energy - curve.e0), "o", color=COLOURS[0], markersize=4.5)
        axes.axvline(curve.v0, color="0.6", linestyle=":")
        text = f"$V_0$ = {curve.v0:.3f} Å³/atom\n$B_0$ = {curve.b0:.1f} GPa"
        axes.text(0.5, 0.95, text, transform=axes.transAxes, va="top", ha="center", backgroundcolor="white")
        axes.set(xlabel="volume (Å³/atom)", ylabel="energy above minimum (meV/atom)")
