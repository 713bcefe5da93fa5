"""Frames of files are evaluated as the file describes them: periodic where it says so, under its conditions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from deepmd_dpa4.inference.structure import Prediction, Structure
from deepmd_dpa4.tools.plots.parity import compare
from tests.support.stub import EmtEvaluator


class Conditioned(EmtEvaluator):
    """Asks for all conditions, and remembers what it got."""

    def __init__(self) -> None:
        self.widths = {"fparam": 1, "aparam": 1, "charge_spin": 2}
        self.seen: list[Structure] = []

    def evaluate(self, structures: Sequence[Structure]) -> list[Prediction]:
        self.seen += structures
        return super().evaluate(structures)


@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False), (False, True, False), (False, False, False)])
def test_slabs_and_wires(pbc: tuple[bool, bool, bool], tmp_path: Path) -> None:
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.rattle(0.05, seed=1)
    atoms.pbc = pbc
    atoms.calc = EMT()
    atoms.get_forces()
    write(tmp_path / "labelled.xyz", atoms, format="extxyz")
    energy, force = compare(EmtEvaluator(), [tmp_path / "labelled.xyz"])[:2]  # type: ignore[arg-type]
    assert energy.mae < 1e-6
    assert force.mae < 1e-6


def test_conditions(tmp_path: Path) -> None:
    """A list of one number comes back from the file as a number, a column of one as numbers."""
    atoms = bulk("Cu", cubic=True)
    atoms.calc = EMT()
    atoms.get_potential_energy()
    atoms.info |= {"fparam": 0.8, "charge": 1, "spin": 2}
    atoms.arrays["aparam"] = np.arange(4.0)
    write(tmp_path / "labelled.xyz", atoms, format="extxyz")
    evaluator = Conditioned()
    compare(evaluator, [tmp_path / "labelled.xyz"])  # type: ignore[arg-type]
    (seen,) = evaluator.seen
    assert np.asarray(seen.fparam).tolist() == [0.8]
    assert np.asarray(seen.charge_spin).tolist() == [1.0, 2.0]
    assert np.asarray(seen.aparam).tolist() == [[0.0], [1.0], [2.0], [3.0]]


def test_half_of_a_condition(tmp_path: Path) -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.calc = EMT()
    atoms.get_potential_energy()
    atoms.info["charge"] = 1
    path = tmp_path / "labelled.xyz"
    write(path, atoms, format="extxyz")
    with pytest.raises(ValueError, match=rf"{path}, frame 0 has 'charge' alone but must have both"):
        compare(Conditioned(), [path])  # type: ignore[arg-type]
