"""Zone bridging with distances in sums of covalent radii, and with a smooth end of the repulsion (theory 7)."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from deepmd_dpa4.config import BridgingConfig
from deepmd_dpa4.config.elements import contact
from deepmd_dpa4.model.zbl import ZBL, repulsion
from tests.support.frames import frame, golden_frame
from tests.support.models import active_potential, evaluate_atoms, graph_of, relative_error
from tests.support.options import CONTACTS, TINY

RCUT = 6.0
SHARP = BridgingConfig(bridging_method="zbl")
SMOOTH = BridgingConfig(bridging_method="zbl", bridging_end="cutoff")


def zbl(config: BridgingConfig, type_map: list[str]) -> ZBL:
    found = repulsion(config, type_map, RCUT)
    assert found is not None
    return found


def pair(potential: ZBL, distance: float) -> tuple[float, float]:
    """Energy and its derivative of two atoms of type 0 and 1, eV and eV/Angstrom."""
    graph = graph_of(frame([[0.0, 0.0, 0.0], [0.0, 0.0, distance]], [0, 1]))
    vector = graph.vector.clone().requires_grad_(True)
    energy = potential(graph.node_type, graph.ends, vector).sum()
    (gradient,) = torch.autograd.grad(energy, vector)
    return float(energy.detach()), float((gradient * graph.vector / distance).sum())


@pytest.mark.parametrize("config", [SMOOTH, CONTACTS], ids=["angstrom", "contact"])
def test_a_smooth_end_vanishes_at_the_cutoff(config: BridgingConfig) -> None:
    """By the fourth power of the distance to it; inside the outer radius nothing changes."""
    smooth, sharp = zbl(config, ["Au", "O"]), zbl(SHARP, ["Au", "O"])
    assert pair(sharp, RCUT - 1e-6)[0] > 5e-4
    energy, slope = pair(smooth, RCUT - 1e-3)
    assert 0 < energy < 1e-13
    assert abs(slope) < 1e-10
    unit = contact("Au", "O") if config.in_contacts else 1.0
    assert unit is not None
    assert pair(smooth, 0.79 * unit) == pair(sharp, 0.79 * unit)
    assert pair(smooth, unit)[0] < pair(sharp, unit)[0]


@pytest.mark.parametrize("unit", ["angstrom", "contact"])
def test_the_repulsion_can_end_with_the_window(unit: str) -> None:
    """Full below the inner radius, nothing from the outer one on, and both smoothly."""
    config = BridgingConfig(bridging_method="zbl", bridging_unit=unit, bridging_end="window")
    window, sharp = zbl(config, ["Au", "O"]), zbl(SHARP, ["Au", "O"])
    scale = contact("Au", "O") if unit == "contact" else 1.0
    assert scale is not None
    inner, outer = 0.5 * scale, 0.8 * scale
    assert pair(window, inner - 1e-6) == pair(sharp, inner - 1e-6)
    assert 0 < pair(window, 0.5 * (inner + outer))[0] < pair(sharp, 0.5 * (inner + outer))[0]
    assert 0 <= pair(window, outer - 1e-3)[0] < 1e-5
    assert pair(window, outer + 1e-6) == pair(window, 2.0) == pair(window, RCUT - 0.1) == (0.0, 0.0)


@pytest.mark.parametrize("end", ["cutoff", "window"])
@pytest.mark.parametrize("distance", [0.3, 1.2, 1.4, 1.7, 2.5, 4.0, 5.5])
def test_forces_of_a_smooth_end_are_derivatives(distance: float, end: str) -> None:
    potential, step = zbl(replace(CONTACTS, bridging_end=end), ["Au", "O"]), 1e-4
    energies = [pair(potential, distance + offset)[0] for offset in (-step, step)]
    slope = pair(potential, distance)[1]
    assert slope < 0 or (end == "window" and distance > 1.62)
    assert (energies[1] - energies[0]) / (2 * step) == pytest.approx(slope, rel=1e-6, abs=1e-9)


def learned_force(kinds: list[int], distance: float) -> float:
    """Largest force of the network on a pair, without the repulsion."""
    potential = active_potential(TINY, bridging=CONTACTS)
    potential.zbl = None
    graph = graph_of(frame([[0.0, 0.0, 0.0], [0.0, 0.0, distance]], kinds))
    return float(evaluate_atoms(potential, graph)["force"].abs().max())


def test_each_pair_has_its_window() -> None:
    """0.6 Angstrom is less than half a contact for O-O and more than a whole one for H-H."""
    assert learned_force([0, 0], 0.6) == 0.0
    assert learned_force([0, 1], 0.45) == 0.0
    assert learned_force([1, 1], 0.45) > 1e-6
    assert learned_force([0, 0], 0.7) > 0.0


def test_one_element_has_the_window_of_its_contact() -> None:
    length = contact("O", "O")
    assert length is not None
    radii = {"bridging_r_inner": 0.5 * length, "bridging_r_outer": 0.8 * length}
    in_angstrom = BridgingConfig(bridging_method="zbl", bridging_end="cutoff", **radii)
    graph = graph_of(frame([[0, 0, 0], [0, 0, 0.9], [0, 0.7, 0.2], [0.5, 0.1, 0.1]], [0, 0, 0, 0]))
    models = [active_potential(TINY, bridging=config) for config in (CONTACTS, in_angstrom)]
    found, expected = (evaluate_atoms(model, graph) for model in models)
    for name in ("energy", "force", "virial"):
        assert relative_error(found[name], expected[name]) < 1e-11, name


def test_tiles_know_the_windows() -> None:
    potential, graph = active_potential(TINY, bridging=CONTACTS), graph_of(golden_frame())
    found, expected = evaluate_atoms(potential, graph, tile_edges=50), evaluate_atoms(potential, graph, tiled=False)
    for name in ("energy", "atom_energy", "force", "virial"):
        assert relative_error(found[name], expected[name]) < 1e-12, name


@pytest.mark.parametrize("end", ["cutoff", "window"])
def test_the_window_is_smooth(end: str) -> None:
    """The force of the whole model is the derivative of its energy at both ends of the window."""
    potential, step = active_potential(TINY, bridging=replace(CONTACTS, bridging_end=end)), 1e-5

    def at(distance: float) -> tuple[Tensor, Tensor]:
        out = evaluate_atoms(potential, graph_of(frame([[0, 0, 0], [0, 0, distance], [0.3, 2.0, 0.5]], [0, 0, 1])))
        return out["energy"][0].detach(), out["force"][1, 2]

    for radius in (0.66, 1.056):
        slope = (at(radius + step)[0] - at(radius - step)[0]) / (2 * step)
        assert float(slope) == pytest.approx(-float(at(radius)[1]), rel=1e-6)
