"""The source gate is a plain product over the edges of the sender, with finite derivatives."""

import torch
from torch import Tensor

from deepmd_dpa4.descriptor.source_gate import source_gate
from deepmd_dpa4.graph.graph import Graph
from tests.support.frames import close_pair_frame
from tests.support.models import graph_of


def factors(graph: Graph) -> Tensor:
    """A factor for each pair, the same in both directions, as distances give."""
    return torch.sin(graph.vector.square().sum(1)).square() * 0.9 + 0.05


def plain_product(factor: Tensor, graph: Graph) -> Tensor:
    gates = []
    for sender in graph.ends.sender.tolist():
        leaving = graph.ends.sender == sender
        gates.append(factor[leaving].prod())
    return torch.stack(gates)


def test_product() -> None:
    graph = graph_of(close_pair_frame())
    factor = factors(graph)
    torch.testing.assert_close(source_gate(factor, graph), plain_product(factor, graph), rtol=1e-13, atol=0)


def test_one_frozen_pair_silences_both_ends() -> None:
    graph = graph_of(close_pair_frame())
    factor = factors(graph)
    frozen = ((graph.ends.sender == 0) & (graph.ends.receiver == 1)) | (
        (graph.ends.sender == 1) & (graph.ends.receiver == 0)
    )
    factor[frozen] = 0.0
    gate = source_gate(factor, graph)
    silent = graph.ends.sender < 2
    assert gate[silent].abs().max() == 0.0
    torch.testing.assert_close(gate[~silent], plain_product(factor, graph)[~silent], rtol=1e-13, atol=0)


def test_derivatives() -> None:
    graph = graph_of(close_pair_frame())
    pair = torch.minimum(graph.ends.sender, graph.ends.receiver) * 5 + torch.maximum(
        graph.ends.sender, graph.ends.receiver
    )
    _, index = pair.unique(return_inverse=True)
    values = torch.linspace(0.2, 0.9, int(index.max()) + 1, dtype=torch.float64).requires_grad_(True)

    def gate(per_pair: Tensor) -> Tensor:
        return source_gate(per_pair[index], graph)

    assert torch.autograd.gradcheck(gate, (values,))
    assert torch.autograd.gradgradcheck(gate, (values,))


def test_derivatives_are_finite_at_a_frozen_pair() -> None:
    graph = graph_of(close_pair_frame())
    factor = factors(graph)
    factor[0] = 0.0
    factor.requires_grad_(True)
    (first,) = torch.autograd.grad(source_gate(factor, graph).square().sum(), factor, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), factor)
    assert bool(torch.isfinite(first).all() and torch.isfinite(second).all())
