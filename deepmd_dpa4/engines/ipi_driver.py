"""Potential for i-PI that evaluates all beads of a ring polymer in one call."""

from pathlib import Path
from typing import Any

import numpy as np

from deepmd_dpa4.engines.ase import structure_of
from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.inference.structure import Prediction

try:
    from ase.io import read
    from ipi.pes.dummy import Dummy_driver
    from ipi.utils.units import unit_to_internal, unit_to_user
except ImportError as error:
    raise ImportError("deepmd_dpa4.engines.ipi_driver needs i-PI: pip install 'deepmd-dpa4[ipi]'") from error

# how i-PI finds the class in a file
__DRIVER_NAME__ = "dpa4"
__DRIVER_CLASS__ = "DPA4Driver"

Result = tuple[float, np.ndarray, np.ndarray, str]


class DPA4Driver(Dummy_driver):
    """Energy, forces and virial for ``<ffdirect>`` and ``i-pi-driver-py``, from the path of this file.

    Parameters
    ----------
    template : str
        File that ASE reads, for elements, periodicity and ``info``; its positions and cell do not matter.
    pbc : bool or str, optional
        Whether all directions are periodic, with the cell that i-PI sends, or none is. Needed for a template without
        periodic directions, as ASE reads every plain xyz and i-PI's own; by default as the template says.
    model : str
        Checkpoint ``.pt``, or frozen file ``.pth`` or ``.pt2``.
    head : str, optional
        Branch of a multi-task checkpoint.
    device : str, optional
        Where to run; by default on a GPU if there is one.
    **kwargs
        Of every driver of i-PI.

    Raises
    ------
    FileNotFoundError, ValueError
        As :class:`~deepmd_dpa4.inference.evaluator.Evaluator`, or if there is no template, or
        it has no periodic direction and ``pbc`` does not say that this is meant.
    """

    def __init__(
        self,
        template: str,
        model: str,
        head: str | None = None,
        device: str | None = None,
        pbc: bool | str | None = None,
        **kwargs: Any,
    ) -> None:
        if not Path(template).is_file():
            raise FileNotFoundError(f"`template` is '{template}' but there is no such file")
        self.path = template
        atoms: Any = read(template)
        if pbc is not None:
            atoms.pbc = truth(pbc)
        elif not atoms.pbc.any():
            # i-PI always sends a cell, but ASE does not read that of i-PI's own xyz
            raise ValueError(
                f"`template` is '{template}', which has no periodic direction as ASE reads it, but i-PI sends a cell: "
                "give `pbc: true` for a system that is periodic in all directions, `pbc: false` for an open one"
            )
        self.template = atoms
        self.evaluator = Evaluator(model, head=head, device=device)
        super().__init__(**kwargs)

    def compute(self, cell: Any, pos: Any) -> Any:
        """Compute the results of one structure, or of a list of structures.

        Parameters
        ----------
        cell : array or list of arrays
            Cell vectors in columns, (3, 3), bohr.
        pos : array or list of arrays
            Positions, (n, 3), bohr.

        Returns
        -------
        tuple or list of tuples
            Energy in hartree, forces (n, 3) in hartree per bohr, virial (3, 3) in hartree, an empty text.
        """
        if not isinstance(cell, list):
            return self.compute([cell], [pos])[0]
        structures = []
        for one_cell, one_pos in zip(cell, pos, strict=True):
            atoms = self.template.copy()
            if len(one_pos) != len(atoms):
                raise ValueError(
                    f"`template` is '{self.path}' with {len(atoms)} atoms but must have {len(one_pos)}, as i-PI sends"
                )
            atoms.set_cell(unit_to_user("length", "angstrom", one_cell.T))
            atoms.positions[:] = unit_to_user("length", "angstrom", one_pos)
            structures.append(structure_of(atoms, self.evaluator))
        return [_in_atomic_units(found) for found in self.evaluator.evaluate(structures)]


def truth(given: bool | str) -> bool:
    """Read the option ``pbc``, which may come as text.

    Raises
    ------
    ValueError
        If it is neither true nor false.
    """
    known = {"true": True, "false": False}
    word = str(given).strip().lower()
    if word not in known:
        raise ValueError(f"`pbc` is {given!r} but must be true or false")
    return known[word]


def _in_atomic_units(found: Prediction) -> Result:
    return (
        float(unit_to_internal("energy", "electronvolt", found.energy)),
        unit_to_internal("force", "ev/ang", found.forces),
        unit_to_internal("energy", "electronvolt", found.virial.T),
        "",
    )
