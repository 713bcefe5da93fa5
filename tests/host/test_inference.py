"""DeepPot and the ASE calculator on checkpoints and frozen files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.inference.structure import Structure
from tests.support import inputs
from tests.support.commands import dp
from tests.support.official import needs_charge_spin
from tests.support.predict import Prediction, assert_same, deep_pot, difference, predict
from tests.support.runs import Data, Run, train
from tests.support.toy import TYPES, Frames, toy_frames


@pytest.fixture(params=["checkpoint", "frozen"])
def path(request: pytest.FixtureRequest, trained: Run) -> Path:
    return getattr(trained, request.param)


@pytest.fixture(params=[True, False], ids=["periodic", "open"])
def periodic(request: pytest.FixtureRequest) -> bool:
    return request.param


def test_atomic_contributions_sum_to_the_totals(path: Path, data: Data, periodic: bool) -> None:
    found = predict(path, data.frames, periodic=periodic)
    assert difference(found.atom_energy.sum(axis=1), found.energy) < 1e-6
    assert difference(found.atom_virial.sum(axis=1), found.virial) < 1e-5
    assert np.abs(found.force.sum(axis=1)).max() < 1e-5


def test_forces_and_virial_are_derivatives(path: Path, data: Data) -> None:
    """Central differences in single precision: the step balances rounding and curvature."""
    potential, step = deep_pot(path), 5e-3
    frames = Frames(*(values[:1] for values in (data.frames.coord, *list(vars(data.frames).values())[1:])))
    found = predict(potential, frames)

    def energy(coord: np.ndarray, cell: np.ndarray) -> float:
        return float(potential.eval(coord, cell.reshape(1, 9), list(TYPES))[0][0, 0])

    coord, cell = frames.coord, frames.cell
    for atom, axis in ((0, 0), (2, 1), (4, 2)):
        moved = np.zeros_like(coord)
        moved[0, atom, axis] = step
        slope = (energy(coord + moved, cell) - energy(coord - moved, cell)) / (2 * step)
        assert -slope == pytest.approx(found.force[0, atom, axis], abs=2e-2 * np.abs(found.force).max())
    for row, column in ((0, 0), (1, 2)):
        strain = np.zeros((3, 3))
        strain[row, column] = strain[column, row] = step
        up, down = np.eye(3) + strain, np.eye(3) - strain
        slope = (energy(coord @ up, cell @ up) - energy(coord @ down, cell @ down)) / (2 * step)
        both = 1 if row == column else 2
        assert -slope / both == pytest.approx(
            found.virial[0].reshape(3, 3)[row, column], abs=2e-2 * np.abs(found.virial).max()
        )


def test_frames_do_not_see_each_other(path: Path, periodic: bool) -> None:
    frames = toy_frames(7, seed=5)
    together = predict(path, frames, periodic=periodic)
    potential = deep_pot(path)
    for index in range(7):
        alone = Frames(*(value[index : index + 1] for value in vars(frames).values()))
        single = predict(potential, alone, periodic=periodic)
        assert_same(single, Prediction(*(value[index : index + 1] for value in together)))


def test_one_frame_after_another_of_different_size(path: Path) -> None:
    """A frozen file specialises itself on its first inputs."""
    potential = deep_pot(path)
    rng = np.random.default_rng(0)
    for atoms in (6, 1, 3, 2, 6, 4):
        coord = rng.uniform(0, 6, (1, atoms, 3))
        energy, force, virial = potential.eval(coord, np.eye(3).reshape(1, 9) * 6, [0] * atoms)[:3]
        assert force.shape == (1, atoms, 3)
        for value in (energy, force, virial):
            assert np.isfinite(value).all()


def test_a_lone_atom_has_no_force(path: Path) -> None:
    _, force, virial = deep_pot(path).eval(np.zeros((1, 3)), None, [1])[:3]
    assert np.abs(force).max() == 0
    assert np.abs(virial).max() == 0


def test_wrapping_changes_nothing(path: Path, data: Data) -> None:
    moved = data.frames.coord + np.array([1, -2, 1]) @ data.frames.cell[0]
    shifted = Frames(moved, *list(vars(data.frames).values())[1:])
    assert_same(predict(path, shifted), predict(path, data.frames))


@pytest.mark.parametrize("backend", ["native", "vesin"])
def test_neighbor_list_of_the_caller(path: Path, data: Data, periodic: bool, backend: str) -> None:
    expected = predict(path, data.frames, periodic=periodic)
    assert_same(predict(deep_pot(path, nlist_backend=backend), data.frames, periodic=periodic), expected)


def test_ase_calculator(path: Path, data: Data, periodic: bool) -> None:
    from ase import Atoms
    from deepmd.calculator import DP

    expected = predict(path, data.frames, periodic=periodic)
    calculator = DP(model=str(path))
    for index in range(2):
        atoms = Atoms("OHHOHH", positions=data.frames.coord[index])
        if periodic:
            atoms.set_cell(data.frames.cell[index])
            atoms.pbc = True
        atoms.calc = calculator
        assert atoms.get_potential_energy() == pytest.approx(expected.energy[index, 0], rel=1e-6)
        assert difference(atoms.get_forces(), expected.force[index]) < 1e-5
        if periodic:
            stress = -expected.virial[index].reshape(3, 3) / atoms.get_volume()
            assert difference(atoms.get_stress(voigt=False), 0.5 * (stress + stress.T)) < 1e-5


CONDITIONS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    # descriptor, fitting, two values of the condition
    "fparam": ({}, {"numb_fparam": 1}, {"fparam": [[0.2]]}, {"fparam": [[0.9]]}),
    "aparam": ({}, {"numb_aparam": 1}, {"aparam": [[[0.1]] * 6]}, {"aparam": [[[0.8]] * 6]}),
    "charge_spin": ({"add_chg_spin_ebd": True}, {}, {"charge_spin": [[0.0, 1.0]]}, {"charge_spin": [[1.0, 2.0]]}),
}


@pytest.fixture(scope="module", params=["fparam", "aparam", pytest.param("charge_spin", marks=needs_charge_spin)])
def conditioned(
    request: pytest.FixtureRequest, data: Data, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Run]:
    descriptor, fitting, *_ = CONDITIONS[request.param]
    content = {"model": inputs.model(descriptor, fitting)} | inputs.training(data.train, data.valid, 10, 1e-2)
    run = train(tmp_path_factory.mktemp(request.param), content)
    dp("freeze", "-o", "model.pth", folder=run.folder)
    return request.param, run


class TestConditions:
    def values(self, name: str) -> list[dict[str, np.ndarray]]:
        return [{key: np.array(v) for key, v in value.items()} for value in CONDITIONS[name][2:]]

    def test_they_matter_and_both_files_agree(self, conditioned: tuple[str, Run], data: Data) -> None:
        name, run = conditioned
        frames = Frames(*(value[:1] for value in vars(data.frames).values()))
        first, second = (predict(run.checkpoint, frames, **value) for value in self.values(name))
        assert difference(first.atom_energy, second.atom_energy) > 1e-6
        for value, expected in zip(self.values(name), (first, second), strict=True):
            assert_same(predict(run.frozen, frames, **value), expected)

    def test_charges_and_spins_are_integers(self, conditioned: tuple[str, Run]) -> None:
        """What is nearly one is taken for it; cut off, -0.9999 would be a neutral molecule."""
        name, run = conditioned
        if name != "charge_spin":
            pytest.skip("of charge and spin")
        frames = toy_frames(1, seed=9)
        for file in (run.checkpoint, run.frozen):
            near, exact = (
                predict(file, frames, charge_spin=np.array(state)) for state in ([[-0.9999, 1.9999]], [[-1.0, 2.0]])
            )
            assert_same(near, exact)
            for state in ([0.5, 1.0], [1.0, 1.9], [100.0, 1.0], [-101.0, 1.0], [0.0, 100.0], [0.0, -1.0]):
                with pytest.raises((ValueError, torch.jit.Error), match="`charge_spin` holds charges from"):
                    predict(file, frames, charge_spin=np.array([state]))

    def test_a_missing_state_is_named(self, conditioned: tuple[str, Run]) -> None:
        name, run = conditioned
        if name != "charge_spin":
            pytest.skip("of charge and spin")
        for file in (run.checkpoint, run.frozen):
            with pytest.raises(ValueError, match=r"structure 0 has no `charge_spin` but .* needs the charge"):
                Evaluator(file).evaluate([Structure(["O"], np.zeros((1, 3)))])

    def test_dp_test_reads_them(self, conditioned: tuple[str, Run], data: Data, tmp_path: Path) -> None:
        _, run = conditioned
        printed = [
            dp("test", "-m", file, "-s", data.valid, "-n", "5", "-d", f"{file.suffix[1:]}", folder=tmp_path)
            for file in (run.checkpoint, run.frozen)
        ]
        assert all("Force" in text for text in printed)
        one, two = (np.loadtxt(tmp_path / f"{kind}.f.out") for kind in ("pt", "pth"))
        assert difference(one, two) < 1e-5

    def test_each_frame_has_its_own(self, conditioned: tuple[str, Run]) -> None:
        name, run = conditioned
        frames = toy_frames(2, seed=9)
        values = self.values(name)
        both = {key: np.concatenate([value[key] for value in values]) for key in values[0]}
        for file in (run.checkpoint, run.frozen):
            together = predict(file, frames, **both)
            for index, value in enumerate(values):
                alone = Frames(*(part[index : index + 1] for part in vars(frames).values()))
                assert_same(predict(file, alone, **value), Prediction(*(v[index : index + 1] for v in together)))
