"""Isolated, padding and excluded atoms, and batches of frames."""

from dataclasses import replace

import pytest
import torch

from deepmd_dpa4.graph.neighbors import search
from deepmd_dpa4.model.potential import Potential
from tests.support.frames import Frame, cluster_frame, frame, golden_frame
from tests.support.models import active_potential, evaluate, evaluate_atoms, graph_of, relative_error
from tests.support.options import MINI, NEO


def test_isolated_atom_gives_network_plus_bias(potential: Potential) -> None:
    lone = frame([[1.0, 2.0, 3.0]], [1])
    graph = graph_of(lone)
    assert len(graph.ends.sender) == 0
    with torch.no_grad():
        network, _ = potential.fitting_net.evaluate(potential.descriptor.features(graph, None), None, None)
    result = evaluate(potential, lone)
    assert result.energy.item() == pytest.approx(network.item() + potential.out_bias[0, 1, 0].item(), rel=1e-14)
    assert result.force.abs().max() == 0.0
    assert result.virial.abs().max() == 0.0


def test_isolated_atoms_add_up(potential: Potential) -> None:
    lone = [evaluate(potential, frame([[0.0, 0.0, 0.0]], [kind])).energy for kind in (0, 1)]
    gas = frame([[30.0 * i, 0.0, 0.0] for i in range(5)], [0, 1, 1, 0, 1])
    assert relative_error(evaluate(potential, gas).energy, 2 * lone[0] + 3 * lone[1]) < 1e-13


def test_bias_is_added_per_atom(potential: Potential) -> None:
    before = evaluate(potential, golden_frame())
    saved = potential.out_bias.clone()
    potential.out_bias[0, :, 0] += torch.tensor([10.0, 100.0])
    try:
        after = evaluate(potential, golden_frame())
    finally:
        potential.out_bias.copy_(saved)
    assert (after.energy - before.energy).item() == pytest.approx(2 * 10 + 4 * 100, abs=1e-9)
    assert torch.equal(after.force, before.force)


@pytest.mark.parametrize("build", [golden_frame, cluster_frame])
def test_padding_atoms_change_nothing(potential: Potential, build) -> None:
    real = build()
    phantom = torch.tensor([[0.2, 0.1, 0.4], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    padded = Frame(torch.cat([real.coord, phantom]), torch.cat([real.types, torch.full((3,), -1)]), real.cell)
    result, reference = evaluate(potential, padded), evaluate(potential, real)
    n = len(real.types)
    assert relative_error(result.energy, reference.energy) < 1e-13
    assert relative_error(result.force[:n], reference.force) < 1e-13
    assert result.force[n:].abs().max() == 0.0
    assert relative_error(result.virial, reference.virial) < 1e-13


def test_batch_equals_single_frames(potential: Potential) -> None:
    base = golden_frame()
    frames = [
        base,
        replace(base, coord=base.coord + 0.1 * torch.sin(torch.arange(18.0, dtype=torch.float64)).view(6, 3)),
        replace(base, coord=base.coord.flip(1), types=base.types.flip(0), cell=1.1 * base.cell),
    ]
    graph = search(
        torch.stack([f.coord for f in frames]),
        torch.stack([f.types for f in frames]),
        torch.stack([f.cell for f in frames]),
        6.0,
        2,
        None,
    )
    batch = evaluate_atoms(potential, graph, len(frames))
    assert batch["atom_energy"].shape == (18,)
    assert batch["atom_virial"].shape == (18, 9)
    for i, single in enumerate(frames):
        reference = evaluate(potential, single)
        assert relative_error(batch["energy"][i], reference.energy) < 1e-12
        assert relative_error(batch["force"].view(3, 6, 3)[i], reference.force) < 1e-12
        assert relative_error(batch["virial"][i].view(3, 3), reference.virial) < 1e-12


def test_parts_sum_to_the_whole(potential: Potential) -> None:
    out = evaluate_atoms(potential, graph_of(golden_frame()))
    assert relative_error(out["atom_energy"].sum(), out["energy"][0]) < 1e-14
    assert relative_error(out["atom_virial"].sum(0), out["virial"][0]) < 1e-13
    assert relative_error(out["virial"], potential(graph_of(golden_frame()), 1)["virial"]) < 1e-13


def test_no_gradient_between_frames(potential: Potential) -> None:
    """Changing one frame of a batch leaves the others bit for bit alike in energy."""
    base = golden_frame()
    coord = torch.stack([base.coord, base.coord])
    types, cell = torch.stack([base.types] * 2), torch.stack([base.cell] * 2)
    before = potential(search(coord, types, cell, 6.0, 2, None), 2)
    coord[1, 0] += 0.05
    after = potential(search(coord, types, cell, 6.0, 2, None), 2)
    atoms = len(base.types)
    assert relative_error(after["force"][:atoms], before["force"][:atoms]) < 1e-13
    assert relative_error(after["force"][atoms:], before["force"][atoms:]) > 1e-4


@pytest.mark.parametrize("options", [MINI, NEO], ids=["mini", "neo"])
def test_excluded_types_carry_no_energy_but_are_seen(options: dict) -> None:
    whole = active_potential(options)
    part = active_potential(options, excluded_types=[1])
    everything = whole(graph_of(golden_frame()), 1)["atom_energy"]
    out = part(graph_of(golden_frame()), 1)["atom_energy"]
    oxygen = golden_frame().types == 0
    assert torch.equal(out[oxygen], everything[oxygen])
    assert out[~oxygen].abs().max() == 0.0


def test_excluded_pair_equals_species_that_do_not_meet() -> None:
    """With O-H excluded the frame is the sum of its O atoms and its H atoms."""
    potential = active_potential(MINI)
    excluded = torch.zeros(3, 3, dtype=torch.bool)
    excluded[0, 1] = excluded[1, 0] = True
    mixed = golden_frame()
    result = evaluate(potential, mixed, excluded=excluded)
    for kind in (0, 1):
        own = mixed.types == kind
        alone = evaluate(potential, Frame(mixed.coord[own], mixed.types[own], mixed.cell))
        assert relative_error(result.force[own], alone.force) < 1e-12
