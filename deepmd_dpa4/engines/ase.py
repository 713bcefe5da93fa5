"""Calculator for ASE."""

from pathlib import Path
from typing import Any

import numpy as np

from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.inference.second_derivatives import SecondDerivatives
from deepmd_dpa4.inference.structure import Structure, conditions_among

try:
    from ase import Atoms
    from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
    from ase.outputs import Properties
    from ase.stress import full_3x3_to_voigt_6_stress
    from ase.vibrations import VibrationsData
except ImportError as error:
    raise ImportError("deepmd_dpa4.engines.ase needs ASE: pip install 'deepmd-dpa4[ase]'") from error


UNCERTAINTIES = ("energy_uncertainty", "energies_uncertainty")
"""Results of models whose file holds uncertainties."""
LEAST_VOLUME = 1e-6
"""Volume in cubic Angstrom up to which a cell counts as flat, as in the search of neighbours."""


class DPA4Calculator(Calculator):
    r"""Energies, forces and stresses of a model file.

    The stress is :math:`\sigma = -W / V` with the virial W, positive under tension. It exists where the three cell
    vectors span a volume, whichever of them are periodic. The stresses of the atoms sum to it, and those of the energy
    to the energy; there is no electronic entropy, so the free energy is the energy.

    If the file holds uncertainties (``dpa4 uncertainty``), every calculation gives ``energy_uncertainty`` (eV, of the
    energy) and ``energies_uncertainty`` (eV, of its parts) too; :meth:`get_property` finds them by these names.

    Models with conditions read them from ``atoms.info``: ``fparam``, ``aparam`` and either ``charge_spin`` or both of
    ``charge`` and ``spin`` (the multiplicity). A change there makes results out of date like one of the positions.

    Parameters
    ----------
    model : str or Path
        Checkpoint ``.pt``, or frozen file ``.pth`` or ``.pt2``.
    head : str, optional
        Branch of a multi-task checkpoint.
    device : str, optional
        Where to run; by default on a GPU if there is one.
    **kwargs
        Of every ASE calculator.

    Raises
    ------
    FileNotFoundError, ValueError
        As :class:`~deepmd_dpa4.inference.evaluator.Evaluator`, whose errors about structures are raised too.
    """

    name = "DPA4"
    implemented_properties = ["energy", "free_energy", "forces", "stress", "energies", "stresses", *UNCERTAINTIES]

    def __init__(self, model: str | Path, head: str | None = None, device: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.evaluator = Evaluator(model, head=head, device=device)
        self._conditions: dict[str, np.ndarray] = {}

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute everything but ``stresses``, and those if they are asked for.

        Raises
        ------
        PropertyNotImplementedError
            If a stress is asked for in a cell without volume.
        UncertaintyError
            If an uncertainty is asked for but the file holds none.
        """
        wanted = properties or ["energy"]
        super().calculate(atoms, wanted, system_changes)
        current = self.atoms
        assert current is not None
        volume = abs(float(current.cell.volume))
        if volume <= LEAST_VOLUME and {"stress", "stresses"} & set(wanted):
            raise PropertyNotImplementedError(
                f"the stress was asked for but the cell {current.cell.tolist()} has no volume"
            )
        self._conditions = conditions(current, self.evaluator)
        structure = structure_of(current, self.evaluator)
        required = True if set(UNCERTAINTIES) & set(wanted) else None
        (found,) = self.evaluator.evaluate([structure], atomic="stresses" in wanted, uncertainty=required)
        self.results = {
            "energy": found.energy,
            "free_energy": found.energy,
            "forces": found.forces,
            "energies": found.atom_energies,
        }
        if found.energy_uncertainty is not None:
            self.results |= {name: getattr(found, name) for name in UNCERTAINTIES}
        if volume > LEAST_VOLUME:
            self.results["stress"] = full_3x3_to_voigt_6_stress(-found.virial / volume)
            if found.atom_virials is not None:
                self.results["stresses"] = full_3x3_to_voigt_6_stress(-found.atom_virials / volume)

    def get_hessian(self, atoms: Atoms | None = None) -> np.ndarray:
        """Compute the second derivatives of the energy by positions, exactly, (3 n, 3 n), eV/A^2.

        Raises
        ------
        FileError
            As :meth:`~deepmd_dpa4.inference.evaluator.Evaluator.second_derivatives`.
        """
        hessian = self._second_derivatives(atoms).hessian
        return hessian.reshape(3 * len(hessian), 3 * len(hessian))

    def get_vibrations(self, atoms: Atoms | None = None) -> VibrationsData:
        """Compute harmonic vibrations (energies, frequencies, modes) of a relaxed structure.

        Atoms that a constraint of ASE fixes do not vibrate.

        Raises
        ------
        FileError
            As :meth:`get_hessian`.
        """
        current = self._given(atoms)
        free = VibrationsData.indices_from_constraints(current)
        hessian = self._second_derivatives(current).hessian[np.ix_(free, range(3), free, range(3))]
        return VibrationsData(current, hessian, indices=free)

    def get_elastic_constants(self, atoms: Atoms | None = None, relaxed: bool = True) -> np.ndarray:
        """Compute the elastic constants in the order of Voigt, (6, 6), eV/A^3; divide by ``ase.units.GPa`` for GPa.

        Parameters
        ----------
        atoms : Atoms, optional
            Periodic in all directions; by default those of the last calculation.
        relaxed : bool
            Whether atoms move to where no force acts on them, or follow the strain (clamped ions).

        Raises
        ------
        FileError
            As :meth:`get_hessian`.
        ValueError
            As :meth:`~deepmd_dpa4.inference.second_derivatives.SecondDerivatives.elastic_constants`.
        """
        return self._second_derivatives(atoms).elastic_constants(relaxed)

    def _given(self, atoms: Atoms | None) -> Atoms:
        current = self.atoms if atoms is None else atoms
        if current is None:
            raise ValueError("`atoms` is None but must be given before the first calculation")
        return current

    def _second_derivatives(self, atoms: Atoms | None) -> SecondDerivatives:
        (found,) = self.evaluator.second_derivatives([structure_of(self._given(atoms), self.evaluator)])
        return found

    def export_properties(self) -> Properties:
        """Return the results that ASE has names for."""
        return Properties({name: value for name, value in self.results.items() if name not in UNCERTAINTIES})

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """List what has changed since the last calculation, conditions included."""
        changes = super().check_state(atoms, tol)
        now = conditions(atoms, self.evaluator)
        same = now.keys() == self._conditions.keys() and all(
            np.array_equal(value, self._conditions[name]) for name, value in now.items()
        )
        return changes if same else [*changes, "info"]


def structure_of(atoms: Atoms, evaluator: Evaluator) -> Structure:
    """Make a structure with what the model of ``evaluator`` needs to know about ``atoms``.

    Raises
    ------
    ValueError
        If only one of ``charge`` and ``spin`` is given to a model that needs them.
    """
    return Structure(
        atoms.get_chemical_symbols(), atoms.positions, atoms.cell.array, atoms.pbc, **conditions(atoms, evaluator)
    )


def conditions(atoms: Atoms, evaluator: Evaluator) -> dict[str, np.ndarray]:
    """Read the conditions in ``atoms.info`` that the model knows."""
    return conditions_among(atoms.info, evaluator.widths, "`atoms.info`")
