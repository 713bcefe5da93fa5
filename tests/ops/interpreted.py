"""The operators in Triton against plain torch, by Triton's interpreter.

It has to be chosen before Triton is imported, so these tests run in a process of their own, which
``test_triton.py`` starts: ``TRITON_INTERPRET=1 python -m pytest tests/ops/interpreted.py``.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from deepmd_dpa4.compiled.segment import Budget, Segment
from deepmd_dpa4.config import DescriptorConfig
from deepmd_dpa4.graph.graph import Ends
from deepmd_dpa4.graph.order import with_order
from deepmd_dpa4.nn.grid_product import GridTables
from deepmd_dpa4.ops.backends import backend_of, use_backend
from deepmd_dpa4.ops.gated_sum import GatedSum, TritonGatedSum
from deepmd_dpa4.ops.rotation import TritonRotateBackSum, TritonRotateIn, rotate_back_sum, rotate_in
from deepmd_dpa4.ops.softmax import EnvelopeSoftmax, TritonEnvelopeSoftmax
from deepmd_dpa4.ops.triton.rotation import turn_back_sum, turn_in
from deepmd_dpa4.so3.layout import group_size
from tests.compiled.test_energies import Counting, train_step
from tests.compiled.test_energies import assert_same as assert_same_step
from tests.compiled.test_segment import Stage
from tests.support.frames import frame
from tests.support.interpreter import allow_loops
from tests.support.models import active_potential, relative_error
from tests.support.options import TINY

allow_loops()

SINGLE = 1e-5
SYSTEM = frame([[0, 0, 0], [1.1, 0.3, 0], [-0.4, 1.2, 0.5]], [0, 1, 0])
Function = Callable[..., Tensor]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def nodes(edges: int, n_nodes: int) -> Tensor:
    return torch.randint(0, n_nodes, (edges,), generator=torch.Generator().manual_seed(edges))


def derivatives(function: Function, leaves: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Value, first derivatives, and derivatives of those by leaves and adjoint, for fixed directions."""
    leaves = [leaf.to(dtype).requires_grad_(True) for leaf in leaves]
    value = function(*leaves)
    adjoint = draw(*value.shape, seed=1).to(dtype).requires_grad_(True)
    first = torch.autograd.grad(value, leaves, adjoint, create_graph=True)
    directions = [draw(*leaf.shape, seed=2).to(dtype) for leaf in leaves]
    second = torch.autograd.grad(first, [*leaves, adjoint], directions)
    return [value, *first, *second]


def assert_same(ours: Function, plain: Function, leaves: list[Tensor]) -> None:
    found = derivatives(ours, leaves, torch.float32)
    expected = derivatives(plain, leaves, torch.float64)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape and one.dtype == torch.float32
        assert not other.numel() or relative_error(one.double(), other) < SINGLE


# edges, nodes, degree, kept rows, channels, groups of channels: streams times heads
SHAPES = {
    "no edges": (0, 2, 1, 4, 16, 1),
    "lmax 1": (5, 3, 1, 4, 16, 1),
    "lmax 2, several heads": (4, 3, 2, 7, 24, 2),
    "lmax 3, more than one tile of channels": (3, 2, 3, 10, 128, 4),
    "lmax 4, streams": (3, 2, 4, 13, 48, 3),
    "lmax 5, more than one tile of rows": (3, 2, 5, 24, 20, 4),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_into_the_frames(shape: tuple[int, ...]) -> None:
    edges, n_nodes, lmax, rows, channels, _ = shape
    node = nodes(edges, n_nodes)
    leaves = [draw(n_nodes, (lmax + 1) ** 2, channels), draw(edges, rows, (lmax + 1) ** 2)]
    assert_same(lambda x, m: turn_in(x, m, node), lambda x, m: rotate_in(x, node, m), leaves)


def test_orders_of_edges_that_are_given() -> None:
    """Those that a graph holds for all its operations give what the operators make for themselves."""
    sender, receiver = torch.tensor([2, 2, 0, 2]), torch.tensor([0, 0, 1, 1])
    ends = with_order(Ends(sender, receiver, 2), 4)
    assert ends.by_sender is not None and ends.by_sender.tolist() == [2, 0, 1, 3]
    assert ends.spans is not None and ends.spans[1].tolist() == [[0, 1], [1, 1], [1, 4], [4, 4]]
    assert ends.spans[0].tolist() == [[0, 2], [2, 4], [4, 4], [4, 4]]
    leaves = [draw(4, 4, 16), draw(4, 4, 4)]
    found = derivatives(lambda x, m: turn_in(x, m, sender, ends.by_sender, ends.spans[1]), leaves, torch.float32)
    for one, other in zip(found, derivatives(lambda x, m: turn_in(x, m, sender), leaves, torch.float32), strict=True):
        assert torch.equal(one, other)


def plain_sum(local: Tensor, matrix: Tensor, weight: Tensor, node: Tensor, n_nodes: int) -> Tensor:
    weighted = local * weight.repeat_interleave(local.shape[2] // weight.shape[1], dim=1)[:, None]
    return rotate_back_sum(weighted, matrix, node, n_nodes)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_back_and_summed(shape: tuple[int, ...]) -> None:
    edges, n_nodes, lmax, rows, channels, groups = shape
    node = nodes(edges, n_nodes).sort().values
    leaves = [draw(edges, rows, channels), draw(edges, rows, (lmax + 1) ** 2), draw(edges, groups)]
    assert_same(
        lambda h, m, w: turn_back_sum(h, m, w, node, n_nodes),
        lambda h, m, w: plain_sum(h, m, w, node, n_nodes),
        leaves,
    )


@pytest.mark.parametrize("edges_of_nodes", [(0, 11, 1), (2, 10, 0), (12,), (3, 4, 5)])
def test_hubs_are_divided(edges_of_nodes: tuple[int, ...]) -> None:
    """Pieces of three edges, nodes with more than four of them, in all positions."""
    n_nodes = len(edges_of_nodes)
    node = torch.arange(n_nodes).repeat_interleave(torch.tensor(edges_of_nodes))
    local, matrix, weight = draw(12, 4, 16), draw(12, 4, 4), draw(12, 1)
    found = turn_back_sum(local, matrix, weight, node, n_nodes, 3, 4)
    assert relative_error(found, plain_sum(local, matrix, weight, node, n_nodes)) < SINGLE
    assert torch.equal(found, turn_back_sum(local, matrix, weight, node, n_nodes, 3, 4))


def test_features_in_bfloat16() -> None:
    """Mixed precision makes such features; products and sums are those of single precision."""
    node = torch.tensor([0, 0, 1])
    features, matrix, weight = draw(2, 9, 16).bfloat16(), draw(3, 7, 9), draw(3, 2)
    local = draw(3, 7, 16).bfloat16()
    inward = derivatives(lambda x, m: turn_in(x.bfloat16(), m, node), [features, matrix], torch.float32)
    expected = derivatives(lambda x, m: rotate_in(x, node, m), [features, matrix], torch.float32)
    assert relative_error(inward[0], expected[0]) < SINGLE
    back = derivatives(
        lambda h, m, w: turn_back_sum(h.bfloat16(), m, w, node, 2), [local, matrix, weight], torch.float32
    )
    expected += derivatives(lambda h, m, w: plain_sum(h, m, w, node, 2), [local, matrix, weight], torch.float32)
    assert relative_error(back[0], expected[len(inward)]) < SINGLE
    for one, other in zip(inward + back, expected, strict=True):
        # derivatives by the features are rounded once, and so are directions along them
        assert one.dtype == torch.float32 and relative_error(one, other) < 2**-7


def test_edge_features_are_rounded_once_in_mixed_precision() -> None:
    """Results in bfloat16 are sums in single precision, rounded; so are directions along them."""
    node, matrix, features = torch.tensor([0, 0, 1]), draw(3, 7, 9), draw(2, 9, 16)

    def turned(precision: torch.dtype) -> list[Tensor]:
        def function(x: Tensor, m: Tensor) -> Tensor:
            local = turn_in(x, m, node, None, None, precision)
            assert local.dtype == precision
            return local.float()

        return derivatives(function, [features, matrix], torch.float32)

    half, single = turned(torch.bfloat16), turned(torch.float32)
    for index in (0, -1):
        # the interpreter cuts what cards round
        torch.testing.assert_close(half[index], single[index], rtol=2**-7, atol=0.0)
    for one, other in zip(half[1:-1], single[1:-1], strict=True):
        # these read the adjoint, which has the precision of the features
        assert relative_error(one, other) < 2**-7


def test_mixed_precision_makes_features_in_bfloat16() -> None:
    node, matrix, features = torch.tensor([0, 0, 1]), draw(3, 7, 9), draw(2, 9, 16)
    ends = Ends(node, node, 2)
    with torch.autocast("cpu", torch.bfloat16):
        local = TritonRotateIn()(features, ends, matrix)
        assert local.dtype == rotate_in(features, node, matrix).dtype == torch.bfloat16
        total = TritonRotateBackSum()(local, draw(3, 2, 1), matrix, ends)
    assert total.dtype == torch.float32


def test_all_orders_of_derivatives() -> None:
    node = nodes(2, 2)
    leaves = [draw(2, 4, 16).double().requires_grad_(True), draw(2, 4, 4).double().requires_grad_(True)]

    def third(function: Function) -> tuple[Tensor, ...]:
        (first,) = torch.autograd.grad(function(*leaves).sin().sum(), leaves[0], create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), leaves[1], create_graph=True)
        return torch.autograd.grad(second.square().sum(), leaves)

    ours, plain = third(lambda x, m: turn_in(x, m, node)), third(lambda x, m: rotate_in(x, node, m))
    for one, other in zip(ours, plain, strict=True):
        assert relative_error(one, other) < 1e-12


@pytest.mark.parametrize(("streams", "heads"), [(1, 1), (2, 3)])
@pytest.mark.parametrize("edges_of_nodes", [(0, 0), (3, 0, 2), (70, 1)], ids=["no edges", "few", "tails"])
def test_softmax(edges_of_nodes: tuple[int, ...], streams: int, heads: int) -> None:
    n_nodes, edges = len(edges_of_nodes), sum(edges_of_nodes)
    node = torch.arange(n_nodes).repeat_interleave(torch.tensor(edges_of_nodes))
    leaves = [2 * draw(edges, streams, heads), draw(edges).abs() + 0.1, draw(streams, heads).abs() + 0.1]

    def with_(operation: EnvelopeSoftmax) -> Function:
        return lambda logits, weight, null: operation(logits, weight, None, null, Ends(node, node, n_nodes))

    assert_same(with_(TritonEnvelopeSoftmax()), with_(EnvelopeSoftmax()), leaves)


@pytest.mark.parametrize("size", [300.0, -300.0])
def test_softmax_of_extreme_numbers(size: float) -> None:
    node, weight = torch.tensor([0, 0, 0, 2]), torch.tensor([0.5, 0.0, 1e-25, 0.3])
    leaves = [draw(4, 1, 2) + size, weight, draw(1, 2).abs() + 0.1]

    def attention(*leaves: Tensor) -> Tensor:
        return TritonEnvelopeSoftmax()(leaves[0], leaves[1], None, leaves[2], Ends(node, node, 3))

    found = derivatives(attention, leaves, torch.float32)
    assert all(bool(torch.isfinite(value).all()) for value in found)
    assert found[0][1:3].abs().max() < 1e-30
    torch.testing.assert_close(found[0][[0, 3]], torch.full((2, 1, 2), 1.0 if size > 0 else 0.0))


# degree and largest frame order (None: sphere), nodes, channels of a branch, branches
PRODUCTS = {
    "sphere, tail of columns": (1, None, 13, 20, 1),
    "sphere, branches": (3, None, 2, 4, 2),
    "rotations": (1, 1, 3, 5, 1),
    "no nodes": (2, None, 0, 4, 1),
}


@pytest.mark.parametrize("sizes", PRODUCTS.values(), ids=PRODUCTS)
def test_products_of_fields(sizes: tuple[int, int | None, int, int, int]) -> None:
    lmax, kmax, n_nodes, channels, branches = sizes
    ours = nn.Sequential(GridTables(lmax, kmax, True, torch.float32).multiply)
    plain = GridTables(lmax, kmax, True, torch.float64).multiply
    use_backend(ours, "triton", torch.device("cuda"))
    rows = plain.to_grid.shape[1]
    leaves = [draw(rows, n_nodes, channels * branches), draw(rows, n_nodes, channels * branches, seed=1)]
    if branches == 1:
        assert_same(lambda x, z: ours[0](x, z, None), lambda x, z: plain(x, z, None), leaves)
    else:
        assert_same(ours[0], plain, [*leaves, draw(n_nodes, branches)])


# edges, degree, largest order, channels, streams
GATES = {
    "no edges": (0, 1, 1, 4, 1),
    "lmax 1": (3, 1, 1, 4, 1),
    "order 0 alone": (2, 2, 0, 5, 2),
    "lmax 3, more than one tile of edges": (130, 3, 1, 8, 1),
    "lmax 3, more than one tile of channels": (2, 3, 1, 70, 2),
    "lmax 5, order 3, streams": (2, 5, 3, 20, 4),
    "lmax 4, order 2": (3, 4, 2, 6, 1),
}


def gate_of(lmax: int, channels: int) -> tuple[Function, Function]:
    """Both implementations as functions of one tensor for each of features, mixed features and logits."""
    plain = GatedSum(None, lmax, channels, nn.SiLU())
    ours = nn.Sequential(GatedSum(DescriptorConfig(), lmax, channels, nn.SiLU()))
    use_backend(ours, "triton", torch.device("cuda"))
    assert isinstance(ours[0], TritonGatedSum)

    def of(operation: nn.Module) -> Function:
        def function(features: Tensor, mixed: Tensor, logits: Tensor) -> Tensor:
            sizes = widths(lmax, mixed.shape[2] // channels, channels)
            # a sum has no second derivative
            parts = operation(list(features.sin().split(sizes, dim=2)), list(mixed.split(sizes, dim=2)), logits)
            return torch.cat(parts, dim=2)

        return function

    return of(ours[0]), of(plain)


def widths(lmax: int, rows: int, channels: int) -> list[int]:
    """Columns of each order of features with so many rows."""
    found, order = list[int](), 0
    while sum(found) < rows * channels:
        found.append(group_size(lmax, order) * channels)
        order += 1
    return found


@pytest.mark.parametrize("sizes", GATES.values(), ids=GATES)
def test_gates(sizes: tuple[int, ...]) -> None:
    edges, lmax, mmax, channels, streams = sizes
    rows = sum(group_size(lmax, order) for order in range(mmax + 1))
    features, mixed = draw(streams, edges, rows * channels), draw(streams, edges, rows * channels, seed=1)
    assert_same(*gate_of(lmax, channels), [features, mixed, draw(streams, edges, lmax * channels)])


def test_gates_in_bfloat16() -> None:
    """Each number is computed in single precision and rounded once."""
    ours, _ = gate_of(2, 8)
    leaves = [draw(1, 3, 7 * 8), draw(1, 3, 7 * 8, seed=1), draw(1, 3, 16)]
    rounded = [leaf.bfloat16() for leaf in leaves]

    def half(*leaves: Tensor) -> Tensor:
        value = ours(*(leaf.bfloat16() for leaf in leaves))
        assert value.dtype == torch.bfloat16
        return value.float()

    found = derivatives(half, [one.float() for one in rounded], torch.float32)
    expected = derivatives(ours, [one.float() for one in rounded], torch.float32)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32 and relative_error(one, other) < 2**-7


def test_gates_without_degrees_are_plain() -> None:
    operation = nn.Sequential(GatedSum(DescriptorConfig(), 0, 4, nn.SiLU()))
    use_backend(operation, "triton", torch.device("cuda"))
    features, mixed = draw(1, 3, 4), draw(1, 3, 4, seed=1)
    (found,) = operation[0]([features], [mixed], None)
    torch.testing.assert_close(found, features + nn.functional.silu(mixed))


class Messages(nn.Module):
    """Turned into edge frames, weighed, turned back and summed."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(draw(2, 2).abs())
        self.turn, self.softmax, self.sum = TritonRotateIn(), TritonEnvelopeSoftmax(), TritonRotateBackSum()

    def forward(self, nodes: int, edges: int, *arguments: Tensor) -> tuple[Tensor]:
        features, matrix, weight, *ends = arguments
        ends = Ends(*ends[:2], nodes, *ends[2:])
        local = self.turn(features, ends, matrix)
        logits = local[:, 0].view(edges, 2, 2, -1).sum(dim=3)
        share = self.softmax(logits, weight, None, self.scale, ends)
        return (self.sum(local, share, matrix, ends),)


def test_compiled_stages_hold_the_operators() -> None:
    """Their graphs and those of both derivatives, for other sizes than they were traced with."""
    sizes, sender, receiver = (3, 4), torch.tensor([1, 2, 0, 2]), torch.tensor([0, 0, 1, 2])
    network, lowering = Messages(), Counting()
    ends = with_order(Ends(sender, receiver, 3), 3)
    edges = sender, receiver, ends.by_sender, ends.spans
    part = Stage(lambda module, *arguments: module(*arguments), ("n--", "e--", "e", "e", "e", "e", "-n-"), 3)
    segment = Segment(part, lowering)
    leaves = [draw(3, 9, 16), draw(4, 7, 9), draw(4).abs() + 0.1]

    def compiled(*leaves: Tensor) -> Tensor:
        (total,) = segment(network, sizes, Budget(0), *leaves, *edges)
        assert total is not None
        return total

    def direct(*leaves: Tensor) -> Tensor:
        return network(*sizes, *leaves, *edges)[0]

    found = derivatives(compiled, leaves, torch.float32)
    for one, other in zip(found, derivatives(direct, leaves, torch.float32), strict=True):
        assert relative_error(one, other) < SINGLE
    code = "".join(graph.code for graph in lowering.graphs)
    for name in ("turn_in", "turn_in_along", "turn_in_gradients", "turn_back_sum", "turn_back_second"):
        assert f"dpa4_triton.{name}.default" in code
    assert "dpa4_triton.edge_softmax_second.default" in code


def test_training_step() -> None:
    """Energies, forces, virial and gradients of all weights, with several streams and heads."""
    options = TINY | {"precision": "float32", "n_blocks": 1, "n_focus": 2, "n_atten_head": 2}
    potential = active_potential(options, noise=0.1, dtype=torch.float32).train()
    expected = train_step(potential, SYSTEM)
    use_backend(potential, "triton", torch.device("cuda"))
    assert backend_of(potential) == "triton"
    assert_same_step(train_step(potential, SYSTEM), expected, 1e-4)
