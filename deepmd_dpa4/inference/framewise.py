"""Frames of equal size through DeePMD-kit's interface, for every other file."""

from typing import Any

import numpy as np
import torch
from deepmd.infer import DeepPot

from deepmd_dpa4.graph.extent import check_extent
from deepmd_dpa4.graph.neighbors import check_geometry
from deepmd_dpa4.graph.systems import full_cell
from deepmd_dpa4.inference.structure import CONDITIONS, Prediction, Structure, name_structure_in_errors


class Framewise:
    """Evaluation of structures with the same number of atoms together.

    Parameters
    ----------
    potential : DeepPot
        An open file.
    """

    def __init__(self, potential: DeepPot) -> None:
        self.potential = potential

    def group(self, structure: Structure) -> tuple[Any, ...]:
        """Return the key of structures that fit one call: one size, and all with a cell or none."""
        return len(structure.symbols), any(structure.periodic)

    reason_without_last_layer: str | None = (
        "is run by DeePMD-kit; uncertainties are for checkpoints and .pth files of DPA4 models of this package"
    )

    reason_without_second_derivatives: str | None = (
        "is run by DeePMD-kit; second derivatives are for checkpoints and .pth files of DPA4 models of this package"
    )

    def predict(
        self,
        structures: dict[int, Structure],
        types: dict[int, np.ndarray],
        atomic: bool,
        last_layer: bool = False,
    ) -> dict[int, Any]:
        """Yield predictions by the number of the structure; ``last_layer`` is never true."""
        arguments = self._arguments(structures, types)
        energy, force, virial, atom_energy, atom_virial = self.potential.eval(**arguments, atomic=True)[:5]
        return {
            number: Prediction(
                energy=float(energy[row, 0]),
                forces=force[row],
                virial=virial[row].reshape(3, 3),
                atom_energies=atom_energy[row, :, 0],
                atom_virials=atom_virial[row].reshape(-1, 3, 3) if atomic else None,
            )
            for row, number in enumerate(structures)
        }

    def describe(self, structures: dict[int, Structure], types: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        """Compute the descriptors of the atoms, (n, C), by the number of the structure.

        Raises
        ------
        NotImplementedError
            If the file does not tell them.
        """
        return dict(zip(structures, self.potential.eval_descriptor(**self._arguments(structures, types))))

    def _arguments(self, structures: dict[int, Structure], types: dict[int, np.ndarray]) -> dict[str, Any]:
        """Collect what DeePMD-kit wants to be given."""
        first = next(iter(structures.values()))
        cells = (
            [self._cell(number, structure) for number, structure in structures.items()] if any(first.periodic) else None
        )
        coords = np.stack([np.asarray(structure.positions) for structure in structures.values()])
        self._check(coords, cells)
        conditions = {
            name: np.stack([getattr(structure, name) for structure in structures.values()])
            for name in CONDITIONS
            if getattr(first, name) is not None
        }
        atom_types = np.stack([types[number] for number in structures])
        return {"coords": coords, "cells": cells, "atom_types": atom_types, "mixed_type": True, **conditions}

    def _cell(self, number: int, structure: Structure) -> np.ndarray:
        cell = None if structure.cell is None else torch.as_tensor(structure.cell)
        with name_structure_in_errors(number):
            full = full_cell(torch.as_tensor(structure.positions), cell, structure.periodic, self.potential.get_rcut())
        assert full is not None
        return full.numpy().reshape(9)

    def _check(self, coord: np.ndarray, cells: list[np.ndarray] | None) -> None:
        """Refuse frames at which DeePMD-kit's neighbour search ends the process."""
        box = None if cells is None else torch.as_tensor(np.stack(cells)).view(-1, 3, 3)
        check_geometry(torch.as_tensor(coord), box)
        check_extent(torch.as_tensor(coord), box, self.potential.get_rcut())
