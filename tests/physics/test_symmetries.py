"""Rotation, translation, permutation, images and additivity leave the physics alone; a reflection does not.

Deviations are relative to the largest entry, at rounding level of each precision.
"""

from dataclasses import replace

import pytest
import torch

from deepmd_dpa4.model.potential import Potential
from tests.support.frames import Frame, cluster_frame, golden_frame
from tests.support.models import Result, evaluate, relative_error
from tests.support.rotations import random_rotations

DOUBLE, SINGLE = 1e-12, 1e-6
# Forces and virials in single precision are sums of larger edge terms. Rounding the rotated edge vectors alone, with
# all arithmetic in double precision, moves them by up to 7e-7 here; the rounding of the arithmetic comes on top.
SINGLE_DERIVATIVES = 5e-6


def assert_same(result: Result, reference: Result, tolerance: float) -> None:
    derivatives = SINGLE_DERIVATIVES if tolerance == SINGLE else tolerance
    assert relative_error(result.energy, reference.energy) < tolerance
    assert relative_error(result.force, reference.force) < derivatives
    assert relative_error(result.virial, reference.virial) < derivatives


def check_rotation(potential: Potential, tolerance: float) -> None:
    for frame in (golden_frame(), cluster_frame()):
        reference = evaluate(potential, frame)
        for rotation in random_rotations(3, seed=5):
            cell = None if frame.cell is None else frame.cell @ rotation.T
            turned = evaluate(potential, replace(frame, coord=frame.coord @ rotation.T, cell=cell))
            expected = Result(reference.energy, reference.force @ rotation.T, rotation @ reference.virial @ rotation.T)
            assert_same(turned, expected, tolerance)


def check_translation(potential: Potential, tolerance: float) -> None:
    frame = golden_frame()
    shifted = frame.moved(frame.coord + torch.tensor([0.3, -1.7, 2.9], dtype=torch.float64))
    assert_same(evaluate(potential, shifted), evaluate(potential, frame), tolerance)


def check_permutation(potential: Potential, tolerance: float) -> None:
    frame = golden_frame()
    order = torch.randperm(len(frame.types), generator=torch.Generator().manual_seed(1))
    result = evaluate(potential, Frame(frame.coord[order], frame.types[order], frame.cell))
    reference = evaluate(potential, frame)
    assert_same(result, reference._replace(force=reference.force[order]), tolerance)


def check_additivity(potential: Potential, tolerance: float) -> None:
    left = cluster_frame()
    right = Frame(left.coord[:4].flip(1) + 50.0, left.types[:4])
    both = Frame(torch.cat([left.coord, right.coord]), torch.cat([left.types, right.types]))
    a, b = evaluate(potential, left), evaluate(potential, right)
    expected = Result(a.energy + b.energy, torch.cat([a.force, b.force]), a.virial + b.virial)
    assert_same(evaluate(potential, both), expected, tolerance)


CHECKS = [check_rotation, check_translation, check_permutation, check_additivity]


@pytest.mark.parametrize("check", CHECKS)
def test_in_double_precision(potential: Potential, check) -> None:
    check(potential, DOUBLE)


@pytest.mark.parametrize("check", CHECKS)
def test_in_single_precision(single_precision: Potential, check) -> None:
    check(single_precision, SINGLE)


def test_atoms_may_lie_in_any_image(potential: Potential) -> None:
    frame = golden_frame()
    shifts = torch.tensor([[(i * 7) % 5 - 2, (i * 3) % 4 - 1, -(i % 3)] for i in range(len(frame.types))])
    moved = frame.moved(frame.coord + shifts.double() @ frame.cell)
    assert_same(evaluate(potential, moved), evaluate(potential, frame), DOUBLE)


def test_supercell_is_extensive(potential: Potential) -> None:
    frame = golden_frame()
    doubled = Frame(
        torch.cat([frame.coord, frame.coord + frame.cell[0]]),
        frame.types.repeat(2),
        frame.cell * torch.tensor([[2.0], [1.0], [1.0]]),
    )
    one = evaluate(potential, frame)
    assert_same(evaluate(potential, doubled), Result(2 * one.energy, one.force.repeat(2, 1), 2 * one.virial), DOUBLE)


def test_forces_and_torques_balance(potential: Potential) -> None:
    frame = cluster_frame()
    result = evaluate(potential, frame)
    scale = result.force.abs().max()
    assert result.force.sum(0).abs().max() < 1e-12 * scale
    assert torch.linalg.cross(frame.coord, result.force).sum(0).abs().max() < 1e-11 * scale
    assert relative_error(result.virial, result.virial.T) < 1e-11


def test_mirror_images_differ(potential: Potential) -> None:
    """The symmetry is SE(3), not E(3): the complex weights of the SO(2) maps break reflections (trap 13.1)."""
    frame = cluster_frame()
    mirrored = frame.moved(frame.coord * torch.tensor([1.0, 1.0, -1.0]))
    energy, image = evaluate(potential, frame).energy, evaluate(potential, mirrored).energy
    assert (energy - image).abs() > 1e-6 * energy.abs()
