"""Forces and virial are the derivatives of the energy, at ordinary and at special geometries."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from deepmd_dpa4.model.potential import Potential
from tests.support.frames import (
    Frame,
    axis_frame,
    close_pair_frame,
    cluster_frame,
    golden_frame,
    tiny_cell_frame,
)
from tests.support.models import evaluate

STEP = 2e-4


def directional_derivative(potential: Potential, frame: Frame, strain: Tensor, shift: Tensor) -> float:
    """Central difference of sixth order along coord + shift and a homogeneous strain of everything."""

    def energy(size: float) -> float:
        deform = torch.eye(3, dtype=torch.float64) + size * strain
        coord = (frame.coord + size * shift) @ deform
        cell = None if frame.cell is None else frame.cell @ deform
        return evaluate(potential, replace(frame, coord=coord, cell=cell)).energy.item()

    weights = {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}
    return sum(w * (energy(k * STEP) - energy(-k * STEP)) for k, w in weights.items()) / STEP


@pytest.mark.parametrize("build", [golden_frame, axis_frame, close_pair_frame, tiny_cell_frame])
def test_forces(potential: Potential, build) -> None:
    frame = build()
    direction = torch.randn(frame.coord.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    direction = direction / direction.norm()
    result = evaluate(potential, frame)
    numeric = directional_derivative(potential, frame, torch.zeros(3, 3, dtype=torch.float64), direction)
    scale = float(result.force.norm())
    assert abs(numeric + float((result.force * direction).sum())) < 1e-8 * scale


@pytest.mark.parametrize("component", [(0, 0), (1, 1), (2, 2), (0, 1), (2, 1)])
def test_virial(potential: Potential, component: tuple[int, int]) -> None:
    """W = -dE/d(strain) with every position and cell vector multiplied by 1 + strain."""
    # no distance crosses 6 A in these steps, where the pair potential of zone bridging is cut off sharply
    frame = golden_frame()
    strain = torch.zeros(3, 3, dtype=torch.float64)
    strain[component] = 1.0
    result = evaluate(potential, frame)
    numeric = directional_derivative(potential, frame, strain, torch.zeros_like(frame.coord))
    assert abs(numeric + float(result.virial[component])) < 1e-8 * float(result.virial.abs().max())


def test_edges_along_the_poles_have_finite_derivatives(potential: Potential) -> None:
    potential.train()
    try:
        result = evaluate(potential, axis_frame())
        parameters = [p for p in potential.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(result.force.square().sum(), parameters, allow_unused=True)
    finally:
        potential.eval()
    assert bool(torch.isfinite(result.force).all() and torch.isfinite(result.virial).all())
    assert all(bool(torch.isfinite(g).all()) for g in gradients if g is not None)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_forces_are_continuous_through_the_axes(potential: Potential, axis: int, sign: float) -> None:
    """The frame of an edge is singular at some direction for every choice; the physics is not."""

    def force(offset: float) -> Tensor:
        frame = cluster_frame()
        coord = frame.coord.clone()
        coord[1] = offset
        coord[1, axis] = sign * 1.05
        return evaluate(potential, frame.moved(coord)).force

    exact = force(0.0)
    scale = exact.abs().max()
    for offset in (1e-9, -1e-9, 1e-7):
        assert (force(offset) - exact).abs().max() < 1e4 * abs(offset) * scale
