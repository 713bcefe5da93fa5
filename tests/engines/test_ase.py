"""The ASE calculator: derivatives, cell filters, conditions."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.filters import FrechetCellFilter, UnitCellFilter
from ase.optimize import LBFGS
from deepmd.calculator import DP

from deepmd_dpa4.engines.ase import DPA4Calculator
from tests.engines.conftest import MakeModel
from tests.support.official import needs_charge_spin
from tests.support.predict import difference


def alloy_cell() -> Atoms:
    """Four atoms, displaced, in a sheared cell."""
    atoms = bulk("Cu", "fcc", a=3.8, cubic=True)
    atoms.symbols[1:3] = "Al"
    atoms.rattle(0.1, seed=1)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.05 * np.arange(9).reshape(3, 3) / 9), scale_atoms=True)
    return atoms


@pytest.fixture(scope="module")
def calculator(alloy: Path) -> DPA4Calculator:
    return DPA4Calculator(alloy)


def test_forces_and_stress_are_derivatives(calculator: DPA4Calculator) -> None:
    atoms = alloy_cell()
    atoms.calc = calculator
    forces, stress = atoms.get_forces(), atoms.get_stress()
    assert np.abs(forces).max() > 0.01
    assert np.abs(stress).min() > 1e-5
    assert difference(calculate_numerical_forces(atoms, eps=1e-4), forces) < 1e-5
    assert difference(calculate_numerical_stress(atoms, eps=1e-5), stress) < 1e-5


def test_parts_sum_to_the_whole(calculator: DPA4Calculator) -> None:
    atoms = alloy_cell()
    atoms.calc = calculator
    assert atoms.get_potential_energies().sum() == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
    assert atoms.get_stresses().sum(axis=0) == pytest.approx(atoms.get_stress(), rel=1e-8)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()


def test_pressure_is_the_slope_of_the_equation_of_state(calculator: DPA4Calculator) -> None:
    def copper(volume: float) -> Atoms:
        atoms = bulk("Cu", "fcc", a=(4 * volume) ** (1 / 3))
        atoms.calc = calculator
        return atoms

    for volume in (10.5, 11.8, 13.0):
        slope = (copper(volume + 1e-3).get_potential_energy() - copper(volume - 1e-3).get_potential_energy()) / 2e-3
        stress = copper(volume).get_stress(voigt=False)
        assert np.trace(stress) / 3 == pytest.approx(slope, rel=1e-5)
        assert np.abs(stress - slope * np.eye(3)).max() < 1e-5 * abs(slope)


@pytest.mark.parametrize("cell_filter", [FrechetCellFilter, UnitCellFilter])
def test_relaxation_of_a_cell(calculator: DPA4Calculator, cell_filter: type) -> None:
    """The network is random, so a strong pair repulsion is missing: a few steps downhill are what can be expected."""
    atoms = alloy_cell()
    atoms.calc = calculator
    energy, volume = atoms.get_potential_energy(), atoms.get_volume()
    LBFGS(cell_filter(atoms), logfile=None, maxstep=0.02).run(fmax=1e-3, steps=10)
    assert atoms.get_potential_energy() < energy - 1e-3
    assert atoms.get_volume() != volume


def test_slab(calculator: DPA4Calculator) -> None:
    """ASE's slabs have two periodic directions; without vacuum their third cell vector is zero."""
    slab = fcc111("Cu", (1, 1, 3), vacuum=8.0)
    flat = fcc111("Cu", (1, 1, 3))
    assert flat.cell.rank == 2
    full = slab.copy()
    full.pbc = True
    found = []
    for atoms in (slab, flat, full):
        atoms.calc = calculator
        found.append((atoms.get_potential_energy(), atoms.get_forces()))
    for energy, forces in found[1:]:
        assert energy == pytest.approx(found[0][0], rel=1e-9)
        assert difference(forces, found[0][1]) < 1e-7
    assert difference(slab.get_stress(), full.get_stress()) < 1e-7
    for wanted in (flat.get_stress, flat.get_stresses):
        with pytest.raises(PropertyNotImplementedError, match="has no volume"):
            wanted()


def test_parallel_vectors_make_no_volume(calculator: DPA4Calculator) -> None:
    """Three vectors, of which two are parallel, in a layer that is periodic along the other two."""
    layer = Atoms(
        "Cu2", [[0, 0, 0], [1.8, 1.8, 0]], cell=[[3.6, 0, 0], [0, 3.6, 0], [0, 7.2, 0]], pbc=(True, True, False)
    )
    layer.calc = calculator
    assert np.isfinite(layer.get_forces()).all()
    assert "stress" not in calculator.results
    with pytest.raises(PropertyNotImplementedError, match="has no volume"):
        layer.get_stress()


def test_an_atom_that_flies_away(calculator: DPA4Calculator) -> None:
    def energies(x: float) -> np.ndarray:
        atoms = Atoms("Cu3", [[0, 0, 0], [2.4, 0, 0], [x, 0, 0]])
        atoms.calc = calculator
        return atoms.get_potential_energies()

    assert energies(5e5) == pytest.approx(energies(50.0), rel=1e-12)


def test_same_as_the_calculator_of_deepmd_kit(alloy: Path, calculator: DPA4Calculator) -> None:
    atoms = alloy_cell()
    values = []
    for calc in (calculator, DP(model=str(alloy))):
        atoms.calc = calc
        values.append((atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()))
    for found, expected in zip(*values, strict=True):
        assert difference(np.asarray(found), np.asarray(expected)) < 1e-9


@pytest.mark.parametrize("cell_filter", [FrechetCellFilter, UnitCellFilter])
def test_relaxation_with_the_calculator_of_deepmd_kit(alloy: Path, cell_filter: type) -> None:
    atoms = alloy_cell()
    atoms.calc = DP(model=str(alloy))
    energy = atoms.get_potential_energy()
    LBFGS(cell_filter(atoms), logfile=None, maxstep=0.02).run(fmax=1e-3, steps=3)
    assert atoms.get_potential_energy() < energy


def test_unknown_element(calculator: DPA4Calculator) -> None:
    atoms = bulk("Fe")
    atoms.calc = calculator
    with pytest.raises(ValueError, match=r"has an atom 'Fe' but must have those of .*: Cu, Al"):
        atoms.get_potential_energy()


@needs_charge_spin
def test_charge_and_spin(make_model: MakeModel) -> None:
    """They come from ``atoms.info``, and a change of them asks for another calculation."""
    atoms = molecule("H2O")
    atoms.calc = DPA4Calculator(make_model(("O", "H"), add_chg_spin_ebd=True, default_chg_spin=[0.0, 1.0]))
    neutral = atoms.get_potential_energy()
    atoms.info["charge_spin"] = [1, 2]
    ion = atoms.get_potential_energy()
    assert ion != neutral
    atoms.info = {"charge": 1, "spin": 2}
    assert atoms.get_potential_energy() == ion
    atoms.info = {"charge": 0, "spin": 1, "fparam": [1.0]}
    assert atoms.get_potential_energy() == pytest.approx(neutral, rel=1e-12)
    atoms.info = {"charge": 1}
    with pytest.raises(ValueError, match="has 'charge' alone but must have both"):
        atoms.get_potential_energy()


def test_charge_means_nothing_to_other_models(calculator: DPA4Calculator) -> None:
    atoms = alloy_cell()
    atoms.calc = calculator
    energy = atoms.get_potential_energy()
    atoms.info["charge"] = 3
    assert atoms.get_potential_energy() == energy
