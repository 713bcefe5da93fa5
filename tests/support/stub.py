"""In place of a model: EMT, with the interface of the evaluator."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.emt import EMT

from deepmd_dpa4.inference.structure import Prediction, Structure


class EmtEvaluator:
    type_map = ["Cu", "Al"]
    rcut = 5.0
    weights = None

    def __init__(self, model: object = None, head: str | None = None) -> None:
        self.widths = {"fparam": 0, "aparam": 0, "charge_spin": 0}

    def evaluate(self, structures: Sequence[Structure]) -> list[Prediction]:
        return [predict(structure) for structure in structures]


def predict(structure: Structure) -> Prediction:
    atoms = Atoms(structure.symbols, positions=structure.positions, cell=structure.cell, pbc=structure.periodic)
    atoms.calc = EMT()
    virial = np.zeros((3, 3))
    if structure.cell is not None:
        virial = -atoms.get_volume() * atoms.get_stress(voigt=False)
    return Prediction(atoms.get_potential_energy(), atoms.get_forces(), virial, atoms.get_potential_energies())
