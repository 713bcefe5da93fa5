"""What the last layer is linear in: the derivative of an energy by the weights of that layer."""

import pytest
import torch

from deepmd_dpa4.model.potential import Potential
from tests.support.frames import Frame, golden_frame
from tests.support.models import NONE, active_potential, graph_of, relative_error, scatter_of
from tests.support.options import MINI
from tests.support.rotations import random_rotations


def last_layer(potential: Potential, frame: Frame, tile_edges: int = 10**6) -> dict[str, torch.Tensor]:
    graph = graph_of(frame)
    return potential.derive(graph, scatter_of(graph), 1, NONE, False, tile_edges=tile_edges, last_layer=True)


@pytest.mark.parametrize("bias", [False, True])
def test_derivative_by_the_weights(bias: bool) -> None:
    potential = active_potential(MINI, fitting={"neuron": [6], "bias_out": bias, "precision": "float64"})
    layer = potential.fitting_net.filter_layers.networks[0].output_layer
    found = last_layer(potential, golden_frame())["last_layer"]
    energy = potential.predict(graph_of(golden_frame()), NONE)["energy"].sum()
    parameters = [layer.matrix, layer.bias] if bias else [layer.matrix]
    slope = torch.cat([part.flatten() for part in torch.autograd.grad(energy, parameters)])
    assert found.shape == (6, 7 if bias else 6)
    assert relative_error(found.sum(dim=0), slope) < 1e-12


def test_energies_are_linear_in_it() -> None:
    potential = active_potential(MINI)
    found = last_layer(potential, golden_frame())
    weights = potential.fitting_net.filter_layers.networks[0].output_layer.matrix[:, 0]
    bias = potential.out_bias[0, torch.as_tensor(golden_frame().types), 0]
    assert relative_error(found["last_layer"] @ weights + bias, found["atom_energy"]) < 1e-12


def test_tiles_give_the_same() -> None:
    potential = active_potential(MINI)
    direct, tiled = (last_layer(potential, golden_frame(), tile_edges=edges) for edges in (10**6, 20))
    for name in ("last_layer", "force"):
        assert relative_error(tiled[name], direct[name]) < 1e-12, name


def test_only_on_request() -> None:
    graph = graph_of(golden_frame())
    assert "last_layer" not in active_potential(MINI).derive(graph, scatter_of(graph), 1, NONE, False)


def test_atoms_without_energy_have_none() -> None:
    frame = golden_frame()
    found = last_layer(active_potential(MINI, excluded_types=[1]), frame)["last_layer"]
    excluded = torch.as_tensor(frame.types) == 1
    assert found[excluded].abs().max() == 0
    assert found[~excluded].abs().max() > 0


def test_invariance() -> None:
    """Rotated, and with its atoms in another order, a frame has the same features."""
    potential, frame = active_potential(MINI), golden_frame()
    turn, order = random_rotations(1)[0], torch.tensor([3, 0, 5, 1, 2, 4])
    types = torch.as_tensor(frame.types)[order]
    other = Frame((frame.coord @ turn.T)[order], types, frame.cell @ turn.T)
    expected = last_layer(potential, frame)["last_layer"]
    assert relative_error(last_layer(potential, other)["last_layer"], expected[order]) < 1e-10
