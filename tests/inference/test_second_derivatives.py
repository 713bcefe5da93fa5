"""Hessian, internal strain and elastic constants against differences of forces and stresses."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.constraints import FixAtoms
from ase.stress import full_3x3_to_voigt_6_stress

from deepmd_dpa4.checkpoint.archive import FileError
from deepmd_dpa4.engines.ase import DPA4Calculator
from deepmd_dpa4.freeze.freeze import freeze
from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.inference.second_derivatives import VOIGT, SecondDerivatives
from deepmd_dpa4.inference.structure import Structure
from deepmd_dpa4.ops.native.load import load as load_kernels
from tests.engines.conftest import MakeModel, alloy, make_model  # noqa: F401
from tests.support.predict import difference

CELL = np.array([[4.1, 0.0, 0.0], [0.4, 3.9, 0.0], [-0.3, 0.5, 4.3]])
POSITIONS = np.array([[0.1, 0.0, 0.2], [2.2, 1.9, 0.3], [0.2, 2.1, 2.3]])
CRYSTAL = Structure(["Cu", "Al", "Cu"], POSITIONS, CELL)
MOLECULE = Structure(["Al", "Cu"], [[0, 0, 0], [0.3, 0.2, 2.3]])
STEP = 3e-5


@pytest.fixture(scope="module")
def evaluator(alloy: Path) -> Evaluator:  # noqa: F811
    return Evaluator(alloy)


def strained(structure: Structure, component: int, size: float) -> tuple[Structure, np.ndarray]:
    """A structure after a strain of Lagrange and Green, and the deformation that makes it."""
    strain = np.zeros((3, 3))
    strain[VOIGT[component]] += 0.5 * size
    strain += strain.T
    values, vectors = np.linalg.eigh(np.eye(3) + 2 * strain)
    deformation = vectors @ np.diag(np.sqrt(values)) @ vectors.T
    cell = None if structure.cell is None else np.asarray(structure.cell) @ deformation
    return Structure(structure.symbols, np.asarray(structure.positions) @ deformation, cell), deformation


def piola(virial: np.ndarray, deformation: np.ndarray) -> np.ndarray:
    """Derivative of the energy by the strain, (6,): the second Piola-Kirchhoff stress times the volume."""
    inverse = np.linalg.inv(deformation)
    return full_3x3_to_voigt_6_stress(-inverse @ virial @ inverse)


def by_differences(evaluator: Evaluator, structure: Structure) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hessian, internal strain and strain Hessian, by central differences."""
    count = len(structure.symbols)
    moved = []
    for move in (*np.eye(3 * count), *-np.eye(3 * count)):
        positions = np.asarray(structure.positions) + STEP * move.reshape(count, 3)
        moved.append(Structure(structure.symbols, positions, structure.cell))
    forces = np.array([found.forces for found in evaluator.evaluate(moved)])
    hessian = -(forces[: 3 * count] - forces[3 * count :]) / (2 * STEP)
    ends = []
    for sign in (1, -1):
        pairs = [strained(structure, component, sign * STEP) for component in range(6)]
        found = evaluator.evaluate([pair[0] for pair in pairs])
        # displacements at fixed strain are turned and stretched with the cell
        forces = np.array([one.forces @ pair[1] for one, pair in zip(found, pairs)])
        ends.append((forces, np.array([piola(one.virial, pair[1]) for one, pair in zip(found, pairs)])))
    internal, strain = ((ahead - back) / (2 * STEP) for ahead, back in zip(*ends))
    return hessian.reshape(count, 3, count, 3), -internal.transpose(1, 2, 0), strain


def assert_derivatives(found: SecondDerivatives, evaluator: Evaluator, structure: Structure, limit: float) -> None:
    hessian, internal, strain = by_differences(evaluator, structure)
    assert min(np.abs(hessian).max(), np.abs(internal).max(), np.abs(strain).max()) > 1e-2
    assert difference(found.hessian, hessian) < limit
    assert difference(found.internal_strain, internal) < limit
    assert difference(found.strain_hessian, strain) < limit
    assert np.abs(found.hessian.sum(axis=2)).max() < 1e-9 * np.abs(hessian).max()


def test_several_structures_against_differences(evaluator: Evaluator) -> None:
    """Those of a crystal and a molecule in one call, with the first derivatives."""
    structures = [CRYSTAL, MOLECULE]
    for found, first, structure in zip(
        evaluator.second_derivatives(structures), evaluator.evaluate(structures), structures, strict=True
    ):
        assert found.energy == pytest.approx(first.energy, rel=1e-12)
        assert difference(found.forces, first.forces) < 1e-12
        assert difference(found.virial, first.virial) < 1e-12
        assert_derivatives(found, evaluator, structure, limit=1e-6)


@pytest.mark.parametrize("kernels", ["plain", "native"])
def test_frozen_files(alloy: Path, evaluator: Evaluator, kernels: str, tmp_path: Path) -> None:  # noqa: F811
    if kernels == "native" and not load_kernels():
        pytest.skip("this machine cannot have native kernels")
    path = tmp_path / "model.pth"
    freeze(str(alloy), str(path), kernels=kernels)
    structures = [MOLECULE, CRYSTAL, MOLECULE]
    pairs = zip(Evaluator(path).second_derivatives(structures), evaluator.second_derivatives(structures), strict=True)
    for found, expected in pairs:
        for name in ("hessian", "internal_strain", "strain_hessian"):
            assert difference(getattr(found, name), getattr(expected, name)) < 1e-10


def test_batches(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    structures = [CRYSTAL, MOLECULE, CRYSTAL]
    together = evaluator.second_derivatives(structures)
    monkeypatch.setattr("deepmd_dpa4.inference.second_derivatives.MOST_EDGES", 3)
    for found, expected in zip(evaluator.second_derivatives(structures), together, strict=True):
        assert difference(found.hessian, expected.hessian) < 1e-12
    assert evaluator.second_derivatives([]) == []


def test_atoms_without_neighbours(evaluator: Evaluator) -> None:
    lone, none = evaluator.second_derivatives([Structure(["Cu"], [[0, 0, 0]]), Structure([], np.zeros((0, 3)))])
    assert lone.hessian.shape == (1, 3, 1, 3) and not lone.hessian.any() and not lone.strain_hessian.any()
    assert none.hessian.shape == (0, 3, 0, 3)


def relaxed(evaluator: Evaluator, structures: list[Structure], steps: int) -> list[Structure]:
    """Minima of the energy by positions, by Newton steps of at most 0.15 Angstrom downhill."""
    for _ in range(steps):
        moved = []
        for structure, found in zip(structures, evaluator.second_derivatives(structures), strict=True):
            size = 3 * len(structure.symbols)
            values, modes = np.linalg.eigh(found.hessian.reshape(size, size))
            kept = np.abs(values) > 1e-8 * np.abs(values).max()
            step = modes[:, kept] @ ((modes.T @ found.forces.ravel())[kept] / np.abs(values[kept]))
            step *= min(1.0, 0.15 / max(np.abs(step).max(), 1e-12))
            positions = np.asarray(structure.positions) + step.reshape(-1, 3)
            moved.append(Structure(structure.symbols, positions, structure.cell))
        structures = moved
    return structures


@pytest.mark.slow
def test_elastic_constants_of_relaxed_ions(evaluator: Evaluator) -> None:
    """Those of stresses in strained cells whose atoms are relaxed, and less than those of clamped ions."""
    (minimum,) = relaxed(evaluator, [CRYSTAL], steps=15)
    (found,) = evaluator.second_derivatives([minimum])
    assert np.abs(found.forces).max() < 1e-9 and found.volume is not None
    step = 2e-5
    ends = []
    for sign in (1, -1):
        pairs = [strained(minimum, component, sign * step) for component in range(6)]
        predictions = evaluator.evaluate(relaxed(evaluator, [pair[0] for pair in pairs], steps=3))
        assert max(np.abs(one.forces).max() for one in predictions) < 1e-9
        ends.append(np.array([piola(one.virial, pair[1]) for one, pair in zip(predictions, pairs)]))
    expected = (ends[0] - ends[1]) / (2 * step) / found.volume
    assert difference(found.elastic_constants(), expected) < 1e-5
    softening = found.elastic_constants(relaxed=False) - found.elastic_constants()
    assert np.linalg.eigvalsh(softening).min() > -1e-12
    assert np.abs(softening).max() > 0.1 * np.abs(expected).max()
    constants = DPA4Calculator(evaluator.path).get_elastic_constants(
        Atoms(minimum.symbols, minimum.positions, cell=minimum.cell, pbc=True)
    )
    assert difference(constants, found.elastic_constants()) < 1e-12


def test_what_has_no_elastic_constants(evaluator: Evaluator) -> None:
    """A molecule, and a crystal that is not at a minimum."""
    crystal, molecule = evaluator.second_derivatives([CRYSTAL, MOLECULE])
    with pytest.raises(ValueError, match="must be periodic in all directions"):
        molecule.elastic_constants()
    values = np.linalg.eigvalsh(crystal.hessian.reshape(9, 9))
    assert values[0] < -0.1
    with pytest.raises(ValueError, match="must be positive: relax the atoms"):
        crystal.elastic_constants()


def test_vibrations_of_a_dimer(evaluator: Evaluator) -> None:
    """One frequency, from the curvature of the energy along the bond and the reduced mass."""
    calculator = DPA4Calculator(evaluator.path)
    atoms = Atoms("CuAl", [[0, 0, 0], [0, 0, 2.3]], calculator=calculator)
    with pytest.raises(ValueError, match="must be given before the first calculation"):
        calculator.get_hessian()
    energies = []
    for distance in (2.3 - 1e-3, 2.3, 2.3 + 1e-3):
        atoms.positions[1, 2] = distance
        energies.append(atoms.get_potential_energy())
    curvature = (energies[0] - 2 * energies[1] + energies[2]) / 1e-6
    atoms.positions[1, 2] = 2.3
    atoms.get_potential_energy()
    hessian = calculator.get_hessian()
    assert hessian.shape == (6, 6) and hessian[2, 2] == pytest.approx(curvature, rel=1e-4)
    modes, _ = calculator.get_vibrations(atoms).get_energies_and_modes()
    reduced = np.prod(atoms.get_masses()) / atoms.get_masses().sum()
    expected = units._hbar * 1e10 * np.sqrt(units._e / units._amu) / units._e * np.sqrt(complex(curvature / reduced))
    assert np.abs(modes - expected).min() < 1e-4 * abs(expected)
    atoms.set_constraint(FixAtoms([0]))
    modes, _ = calculator.get_vibrations(atoms).get_energies_and_modes()
    assert modes.shape == (3,)
    expected *= np.sqrt(reduced / atoms.get_masses()[1])
    assert np.abs(modes - expected).min() < 1e-4 * abs(expected)
    assert calculator.get_hessian(Atoms()).shape == (0, 0)


def test_files_without_second_derivatives(alloy: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """Those of earlier versions lack what they are made of."""
    evaluator = Evaluator(alloy)
    monkeypatch.setattr(evaluator.backend, "model", torch.nn.Identity())
    with pytest.raises(FileError, match="frozen by an earlier deepmd-dpa4: freeze the checkpoint again"):
        evaluator.second_derivatives([])
