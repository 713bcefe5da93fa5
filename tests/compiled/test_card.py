"""Code for graphics cards, planned by torch's compiler without one."""

from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.counting import Cost, Kept, Meter
from benchmarks.planning import CARD, TOGETHER, GraphCost, Lowering, pretended_card
from benchmarks.without_card import python_engine
from deepmd_dpa4.compiled.lower import compile_graph
from deepmd_dpa4.compiled.trace import EDGES, NODES, Spec, trace
from tests.support.generated import kernels_of

SIZES = [(2, 2), (17, 900), (400, 63200), (3200, 505600), (4096, 647168), (300000, 2000000)]
WIDE = Spec((EDGES, 32), torch.float32, CARD)
SMALL_AND_EDGES = [Spec(shape, torch.float32, CARD) for shape in ((NODES, 32), (32, 32), (7,), (EDGES, 8))]


def both_ways(nodes: int, edges: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums along rows and along columns of the same numbers, as gradients by weights and by features are."""
    z = x * y
    return z.sum(0), z.sum(1), (x * x).sum(0)


def test_the_code_serves_systems_of_all_sizes() -> None:
    with pretended_card():
        compiled = compile_graph(lambda: trace(both_ways, [WIDE, WIDE]), Lowering())
    assert all(compiled.serves(*sizes) for sizes in SIZES)


def test_tensors_of_more_numbers_than_the_code_can_count() -> None:
    """32 numbers of an edge: 2^26 edges have one too many for 32 bits; the largest tensor decides."""
    compiled = compile_graph(lambda: trace(both_ways, [WIDE, WIDE]), lambda graph: graph)
    assert compiled.serves(400, 2**26 - 1) and not compiled.serves(400, 2**26)
    assert compiled.serves(2**31 - 1, 900) and not compiled.serves(2**31, 900)


def product(nodes: int, edges: int, x: Tensor, weight: Tensor, sender: Tensor) -> tuple[Tensor]:
    """One product and a gather with a function of it, which the compiler joins."""
    return (torch.tanh((x @ weight).index_select(0, sender)),)


def test_cost_of_a_graph() -> None:
    """Two kernels: the product reads x and the weight, the other one what it writes and the senders."""
    inputs = [Spec((NODES, 8), torch.float32, CARD), Spec((8, 4), torch.float32, CARD)]
    with pretended_card(), torch.no_grad():
        cost = GraphCost(trace(product, [*inputs, Spec((EDGES,), torch.int64, CARD)]))
    nodes, edges = 100, 1000
    made = 4 * (nodes * 8 + 8 * 4 + nodes * 4)
    gathered = 4 * nodes * 4 + 8 * edges + 4 * edges * 4
    assert cost(nodes, edges) == Cost(2 * nodes * 8 * 4, made + gathered, 2)
    assert cost(10 * nodes, edges).flops == 10 * cost(nodes, edges).flops


def independent(nodes: int, edges: int, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """Functions of weights, of nodes and of edges that need nothing of each other, and two sums."""
    return torch.sin(x), torch.cos(weight), 2 * bias, torch.exp(y), torch.sin(y), x.sum(1), weight.sum(0), y.sum(1)


def test_small_kernels_are_launched_together() -> None:
    """What has no axis of edges takes two launches, one with sums and one without; that of edges is left alone."""
    with pretended_card(), torch.no_grad():
        cost = GraphCost(trace(independent, SMALL_AND_EDGES))
    found, kernels = cost.of(100, 1000)
    together = [kernel for kernel in kernels if kernel.kind == TOGETHER]
    assert sum(kernel.launches for kernel in together) == 2
    small = 2 * (100 * 32 + 32 * 32 + 7) + 100 + 32
    assert sum(kernel.moved for kernel in together) == 4 * small
    assert found.moved - 4 * small == 4 * 1000 * (3 * 8 + 1)


def test_code_of_kernels_launched_together() -> None:
    """Triton makes machine code of it; functions and sums of nodes and weights are one kernel."""
    pytest.importorskip("triton")
    with pretended_card(), torch.no_grad():
        kernels = kernels_of(trace(independent, SMALL_AND_EDGES))
    grids = [kernel.inductor_meta["grid_type"] for kernel in kernels.values()]
    assert sorted(grids) == ["Grid1D", "Grid1D", "SequentialComboKernelGrid"]


def turned(nodes: int, edges: int, x: Tensor, matrix: Tensor, sender: Tensor) -> tuple[Tensor]:
    """One operator in Triton."""
    from deepmd_dpa4.ops.triton.rotation import turn_in

    return (turn_in(x, matrix, sender),)


def test_traffic_of_a_kernel_written_by_hand() -> None:
    """Each buffer that its code touches once; the compiler alone counts results twice."""
    pytest.importorskip("triton")
    inputs = [Spec((NODES, 9, 16), torch.float32, CARD), Spec((EDGES, 7, 9), torch.float32, CARD)]
    with pretended_card(), torch.no_grad():
        cost = GraphCost(trace(turned, [*inputs, Spec((EDGES,), torch.int64, CARD)]))
    found, kernels = cost.of(100, 1000)
    assert found == Cost(0.0, 4 * 100 * 9 * 16 + 1000 * (4 * 7 * 9 + 8 + 4 * 7 * 16), 1)
    assert [kernel.kind for kernel in kernels if kernel.launches] == ["edge_map_kernel"]


def turned_twice(nodes: int, edges: int, x: Tensor, y: Tensor, matrix: Tensor, sender: Tensor) -> tuple[Tensor, Tensor]:
    """Two operators in Triton that read the same function of an argument, as a view."""
    from deepmd_dpa4.ops.triton.rotation import turn_in

    made = torch.tanh(matrix).view(-1, 7, 9)
    return turn_in(x, made, sender), turn_in(y, made, sender)


def test_what_several_kernels_read_is_made_once() -> None:
    """Without the pass the compiler makes it for each of them."""
    pytest.importorskip("triton")
    features = Spec((NODES, 9, 16), torch.float32, CARD)
    inputs = [features, features, Spec((EDGES, 63), torch.float32, CARD), Spec((EDGES,), torch.int64, CARD)]
    with pretended_card(), torch.no_grad():
        cost = GraphCost(trace(turned_twice, inputs))
    nodes, edges = 100, 1000
    found, kernels = cost.of(nodes, edges)
    kernel = 4 * nodes * 9 * 16 + edges * (4 * 63 + 8 + 4 * 7 * 16)
    assert found == Cost(0.0, 4 * edges * 2 * 63 + 2 * kernel, 3)
    assert [one.kind for one in kernels if one.launches] == ["elementwise", "edge_map_kernel", "edge_map_kernel"]


def test_cost_of_operators_one_by_one() -> None:
    x, weight, sender = torch.ones(100, 8), torch.ones(8, 4), torch.zeros(1000, dtype=torch.int64)
    with Meter() as meter:
        product(100, 1000, x, weight, sender)
    made, gathered, function = 4 * (800 + 32 + 400), 8 * 1000 + 2 * 4 * 4000, 2 * 4 * 4000
    # the table of the gather is smaller than what is taken from it
    assert meter.total == Cost(2 * 100 * 8 * 4, made + gathered - 4 * 4000 + 4 * 400 + function, 3)


def test_what_history_keeps() -> None:
    layer = torch.nn.Linear(8, 4)
    kept = Kept(layer)
    with kept.hooks():
        torch.tanh(layer(torch.ones(100, 8))).sum()
    assert kept.bytes == 4 * (100 * 8 + 100 * 4)


class Scaled(torch.autograd.Function):
    """Two multiples of a product, with arguments that are no tensors at both ends; gradients may be missing."""

    @staticmethod
    def forward(ctx: Any, factor: float, x: Tensor, fixed: Tensor, y: Tensor, name: str) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, fixed, y)
        ctx.factor = factor
        return factor * x * fixed * y, 2 * x * fixed * y

    @staticmethod
    def backward(ctx: Any, first: Tensor | None, second: Tensor | None) -> tuple[Tensor | None, ...]:
        x, fixed, y = ctx.saved_tensors
        # without a gradient by the second result another way is taken, as compiled stages do
        seed = ctx.factor * first if second is None else ctx.factor * first + 2 * second
        return None, seed * fixed * y, None, seed * fixed * x + (0 if second is None else 1), None


def test_history_walked_in_python() -> None:
    """Gradients of gradients through functions written in Python are those of torch's engine."""
    x, fixed, y = (torch.linspace(1, 2, 3) + shift for shift in (0.0, 0.1, 0.2))

    def gradients(both: bool) -> tuple[Tensor, ...]:
        leaves = x.clone().requires_grad_(), y.clone().requires_grad_()
        first, second = Scaled.apply(3.0, leaves[0], fixed, leaves[1], "")
        seed = (first * first).sum() + (second.sum() if both else 0.0)
        moved = torch.autograd.grad(seed, leaves, create_graph=True)
        sum((one * one).sum() for one in moved).backward()
        return *(one.detach() for one in moved), *(leaf.grad for leaf in leaves)

    for both in (False, True):
        expected = gradients(both)
        with python_engine():
            for one, other in zip(gradients(both), expected, strict=True):
                torch.testing.assert_close(one, other)
