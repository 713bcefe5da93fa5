"""The network does not depend on the roll of the edge frames nor on the order of its edges."""

import math

import pytest
import torch

from deepmd_dpa4.graph.graph import Ends
from tests.support.frames import golden_frame
from tests.support.models import active_potential, graph_of, relative_error
from tests.support.options import MINI, NANO, NEO, S2

MODELS = {"nano": NANO, "mini": MINI, "neo": NEO, "s2 in both branches": S2 | {"s2_activation": [True, True]}}


@pytest.mark.parametrize("name", MODELS)
def test_random_roll(name: str) -> None:
    network = active_potential(MODELS[name]).descriptor
    graph = graph_of(golden_frame())
    with torch.no_grad():
        expected = network.features(graph, None)
        generator = torch.Generator().manual_seed(0)
        roll = 2.0 * math.pi * torch.rand(len(graph.vector), 1, dtype=graph.vector.dtype, generator=generator)
        network.random_roll = lambda vector: roll
        rolled = network.features(graph, None)
    assert relative_error(rolled, expected) < 1e-12


@pytest.mark.parametrize("name", MODELS)
def test_order_of_edges(name: str) -> None:
    network = active_potential(MODELS[name]).descriptor
    graph = graph_of(golden_frame())
    order = torch.randperm(len(graph.ends.sender), generator=torch.Generator().manual_seed(0))
    sender, receiver, n_receivers, *_ = graph.ends
    ends = Ends(sender[order], receiver[order], n_receivers)
    shuffled = graph._replace(ends=ends, vector=graph.vector[order])
    with torch.no_grad():
        assert relative_error(network.features(shuffled, None), network.features(graph, None)) < 1e-12


@pytest.mark.parametrize("name", MODELS)
def test_edges_at_the_cutoff_do_not_count(name: str) -> None:
    """Callers with arrays of fixed size fill them with edges as long as the cutoff."""
    network = active_potential(MODELS[name]).descriptor
    graph = graph_of(golden_frame())
    fill = torch.tensor([[6.0, 0.0, 0.0], [0.0, 0.0, -7.0]], dtype=torch.float64)
    sender, receiver, n_receivers, *_ = graph.ends
    added = torch.cat([sender, torch.tensor([0, 3])]), torch.cat([receiver, torch.tensor([0, 5])])
    padded = graph._replace(ends=Ends(*added, n_receivers), vector=torch.cat([graph.vector, fill]))
    with torch.no_grad():
        assert relative_error(network.features(padded, None), network.features(graph, None)) < 1e-13
