"""Smoothness where a neighbour enters or leaves the cutoff."""

import pytest
import torch
from torch import Tensor

from deepmd_dpa4.model.potential import Potential
from tests.support.frames import Frame, cluster_frame, frame
from tests.support.models import active_potential, evaluate, on_kernels, relative_error
from tests.support.options import MINI, NANO, NEO, S2

RCUT = 4.0
SMOOTH = {name: options | {"edge_norm": False, "rcut": RCUT} for name, options in (("nano", NANO), ("mini", MINI))}
SMOOTH |= {name: options | {"edge_norm": False, "rcut": RCUT} for name, options in (("neo", NEO), ("s2", S2))}
SMOOTH["one envelope"] = SMOOTH["nano"] | {"basis_type": "bessel/fix", "env_exp": 5}


@pytest.fixture(scope="module", params=SMOOTH)
def smooth(request: pytest.FixtureRequest, kernels: str) -> Potential:
    """Models without norms on the branches that vanish at the cutoff."""
    return on_kernels(kernels, active_potential(SMOOTH[request.param]))


def with_distant_atom(distance: float) -> Frame:
    """A molecule and one atom that only its first atom can see, at ``distance``."""
    coord = [[0, 0, 0], [-0.9, 0.3, 0.1], [-0.3, -0.9, -0.2], [distance, 0, 0]]
    return frame(coord, [0, 1, 1, 0])


def energy_and_force(potential: Potential, distance: float) -> tuple[Tensor, Tensor]:
    result = evaluate(potential, with_distant_atom(distance), RCUT)
    return result.energy, result.force


def test_energy_and_force_are_continuous(smooth: Potential) -> None:
    energy_out, force_out = energy_and_force(smooth, RCUT + 1e-6)
    energy_in, force_in = energy_and_force(smooth, RCUT - 1e-6)
    assert relative_error(energy_in, energy_out) < 1e-13
    assert relative_error(force_in, force_out) < 1e-12


def test_derivative_of_the_force_is_continuous(smooth: Potential) -> None:
    """One-sided differences of the force tend to the same value, here zero, on both sides."""
    _, outside = energy_and_force(smooth, RCUT + 1e-6)
    scale = outside.abs().max()
    slopes = []
    for step in (0.04, 0.02, 0.01):
        _, inside = energy_and_force(smooth, RCUT - step)
        slopes.append(float((inside - outside).abs().max() / scale / step))
    # the force of the edge falls at least with the third power of the distance to the cutoff, its slope with the second
    assert slopes[2] < 1e-4
    assert slopes[1] < slopes[0] / 3 or slopes[1] < 1e-11
    assert slopes[2] < slopes[1] / 3 or slopes[2] < 1e-11


def test_neighbour_beyond_the_cutoff_is_not_seen(potential: Potential) -> None:
    inside = cluster_frame()
    far = Frame(
        torch.cat([inside.coord, torch.tensor([[0.0, 0.0, 60.0]], dtype=torch.float64)]),
        torch.cat([inside.types, torch.tensor([0])]),
    )
    force = evaluate(potential, far).force
    assert force[-1].abs().max() == 0.0
    assert relative_error(force[:-1], evaluate(potential, inside).force) < 1e-13


@pytest.mark.parametrize("env_exp", [[7, 5], 5], ids=["two envelopes", "one envelope"])
def test_edge_norm_keeps_energy_and_force_continuous(env_exp: object, kernels: str) -> None:
    """With norms a vanishing branch is amplified, but the attention falls off faster."""
    potential = on_kernels(kernels, active_potential(MINI | {"edge_norm": True, "rcut": RCUT, "env_exp": env_exp}))
    energy_out, force_out = energy_and_force(potential, RCUT + 1e-6)
    energy_in, force_in = energy_and_force(potential, RCUT - 1e-4)
    assert relative_error(energy_in, energy_out) < 1e-10
    assert relative_error(force_in, force_out) < 1e-6


def test_zone_bridging_is_smooth_at_both_radii(kernels: str) -> None:
    """Force and its slope agree from both sides where a pair enters the bridge and where it freezes."""
    potential = on_kernels(kernels, active_potential(MINI, bridging=(0.8, 1.1)))

    def force(distance: float) -> Tensor:
        return evaluate(potential, frame([[0, 0, 0], [distance, 0, 0], [0.3, 2.0, 0.5]], [0, 1, 1])).force

    for radius in (0.8, 1.1):
        step = 1e-4
        below = (force(radius) - force(radius - step)) / step
        above = (force(radius + step) - force(radius)) / step
        curvature = (force(radius + step) - 2 * force(radius) + force(radius - step)).abs().max()
        assert curvature < 1e-2 * (force(radius + step) - force(radius - step)).abs().max()
        assert (below - above).abs().max() < 1e-2 * above.abs().max()
