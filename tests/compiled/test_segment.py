"""A stage compiled by torch's compiler, on a network small enough for that to be quick."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deepmd_dpa4.compiled.lower import CompileError, inductor
from deepmd_dpa4.compiled.segment import Budget, Optionals, Segment, UnsuitableSizes
from tests.support.models import relative_error

Inputs = tuple[Tensor, Tensor, Tensor, Tensor]


class Network(nn.Module):
    """One round of messages."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(4, 3, generator=generator, dtype=torch.float64))
        self.unused = nn.Parameter(torch.ones(2, dtype=torch.float64))


def messages(
    network: Network, nodes: int, edges: int, x: Tensor, scale: Tensor, sender: Tensor, receiver: Tensor
) -> tuple[Tensor, None, Tensor]:
    """Weighted sums over the edges of each node; a part that this network does not have; and the messages."""
    edge = torch.tanh(x @ network.weight).index_select(0, sender) * scale.square().unsqueeze(1)
    return torch.zeros([nodes, 3], dtype=x.dtype).index_add(0, receiver, edge), None, edge


@dataclass(frozen=True)
class Stage:
    """A function of two tensors that move and two that do not."""

    function: Callable[..., Optionals]
    axes: tuple[str, ...] = ("n-", "e", "e", "e")
    n_moving: int = 2

    def __call__(self, *arguments: Any) -> Optionals:
        return self.function(*arguments)


STAGE = Stage(messages)


def inputs(nodes: int, edges: int) -> Inputs:
    generator = torch.Generator().manual_seed(nodes)
    ends = [torch.randint(nodes, (edges,), generator=generator) for _ in range(2)]
    x = torch.randn(nodes, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    scale = torch.randn(edges, generator=generator, dtype=torch.float64, requires_grad=True)
    return x, scale, ends[0], ends[1]


def derivatives(network: Network, outputs: tuple[Tensor | None, ...], x: Tensor, scale: Tensor) -> list[Tensor]:
    """Values, gradients by what moves, and those of a loss of these gradients by everything."""
    total, missing, edge = outputs
    assert missing is None
    assert total is not None and edge is not None
    first = torch.autograd.grad(total.square().sum() + edge.sin().sum(), [x, scale], create_graph=True)
    loss = total.sum() + sum(gradient.square().sum() for gradient in first)
    second = torch.autograd.grad(loss, [x, scale, network.weight])
    return [total, edge, *first, *second]


@pytest.fixture(scope="module")
def segment() -> Segment:
    if shutil.which("c++") is None and shutil.which("g++") is None:
        pytest.skip("torch's compiler needs a C++ compiler")
    return Segment(STAGE, inductor)


NOTHING, ALL = 0, 10**9
"""Memory for what is kept, in bytes."""


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(7, 20), (50, 400), (3, 3), (2, 9)])
@pytest.mark.parametrize("memory", [NOTHING, ALL])
def test_values_and_two_derivatives(segment: Segment, sizes: tuple[int, int], memory: int) -> None:
    network = Network().train()
    x, scale, sender, receiver = inputs(*sizes)
    expected = derivatives(network, messages(network, *sizes, x, scale, sender, receiver), x, scale)
    found = derivatives(network, segment(network, sizes, Budget(memory), x, scale, sender, receiver), x, scale)
    for one, other in zip(found, expected, strict=True):
        assert relative_error(one, other) < 1e-13


@pytest.mark.slow
@pytest.mark.parametrize("memory", [NOTHING, ALL])
def test_sizes_that_the_code_does_not_serve(segment: Segment, memory: int) -> None:
    with pytest.raises(UnsuitableSizes):
        segment(Network(), (1, 5), Budget(memory), *inputs(1, 5))


def test_a_stage_that_depends_on_values_is_refused() -> None:
    def branching(network: Network, nodes: int, edges: int, x: Tensor, *rest: Tensor) -> tuple[Tensor]:
        return (x if x.sum() > 0 else -x,)

    with pytest.raises(CompileError):
        Segment(Stage(branching), inductor)(Network(), (7, 20), Budget(NOTHING), *inputs(7, 20))


def test_a_stage_that_fixes_a_size_is_refused() -> None:
    def fixed(network: Network, nodes: int, edges: int, x: Tensor, *rest: Tensor) -> tuple[Tensor]:
        return (x.reshape(1009, -1) * 2.0,)

    with pytest.raises((CompileError, UnsuitableSizes)):
        Segment(Stage(fixed), lambda graph: graph)(Network(), (7, 20), Budget(NOTHING), *inputs(7, 20))
