"""Sums and products over the ends of edges: native operators against plain torch, and their derivatives."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from deepmd_dpa4.ops.native.load import load
from deepmd_dpa4.ops.pairs import Pairs
from tests.support.backends import set_native
from tests.support.models import relative_error

NODES, EDGES, BLOCKS, WIDTH = 9, 200, 3, 21


@pytest.fixture(autouse=True, scope="module")
def library() -> None:
    assert load()


def index() -> tuple[Tensor, Tensor]:
    """Receivers in order, as every graph has them, and senders; the last node has no edge."""
    generator = torch.Generator().manual_seed(0)
    receiver, sender = torch.randint(0, NODES - 1, (2, EDGES), generator=generator)
    return receiver.sort().values, sender


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float64).requires_grad_()


def both(function: Callable[[Pairs], Tensor]) -> tuple[Tensor, Tensor]:
    plain, native = Pairs(), Pairs()
    set_native(native, True)
    return function(native), function(plain)


def test_equal_plain_torch() -> None:
    receiver, sender = index()
    node, edge = random(NODES, 13), random(EDGES, 13)
    query, key = random(NODES, BLOCKS, WIDTH), random(NODES, BLOCKS, WIDTH) + 0.5
    for function in (
        lambda pairs: pairs.sum_of_ends(node, receiver, sender),
        lambda pairs: pairs.products(query, key, receiver, sender),
        lambda pairs: pairs.scatter(edge, receiver, sender, NODES, 1.0),
        lambda pairs: pairs.scatter(edge, receiver, sender, NODES, -1.0),
    ):
        found, expected = both(function)
        assert relative_error(found, expected) < 1e-14


OPERATORS: dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = {
    "pair_sum": (lambda x, i, j: torch.ops.dpa4.pair_sum(x, i, j, -0.5), (random(NODES, 2),)),
    "pair_scatter": (lambda y, i, j: torch.ops.dpa4.pair_scatter(y, i, j, NODES, -0.5), (random(EDGES, 2),)),
    "pair_dot": (lambda a, b, i, j: torch.ops.dpa4.pair_dot(a, b, i, j), (random(NODES, 2, 3), random(NODES, 2, 3))),
    "receiver_sum": (
        lambda g, b, i, j: torch.ops.dpa4.receiver_sum(g, b, i, j, NODES),
        (random(EDGES, 2), random(NODES, 2, 3)),
    ),
    "sender_sum": (
        lambda g, a, i, j: torch.ops.dpa4.sender_sum(g, a, i, j, NODES),
        (random(EDGES, 2), random(NODES, 2, 3)),
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_closed_under_differentiation(name: str) -> None:
    function, given = OPERATORS[name]
    receiver, sender = index()
    assert torch.autograd.gradcheck(lambda *x: function(*x, receiver, sender), given, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda *x: function(*x, receiver, sender), given, fast_mode=True)


def test_no_edges() -> None:
    none = torch.zeros([0], dtype=torch.int64)
    found, expected = both(lambda pairs: pairs.scatter(torch.zeros(0, 3), none, none, NODES, -1.0))
    assert torch.equal(found, expected)
    found, expected = both(lambda pairs: pairs.products(torch.ones(2, 1, 3), torch.ones(2, 1, 3), none, none))
    assert found.shape == expected.shape == (0, 1)


def test_lengths_must_agree() -> None:
    receiver, sender = index()
    with pytest.raises(RuntimeError, match="200 receivers but 199 senders"):
        torch.ops.dpa4.pair_sum(random(NODES, 2), receiver, sender[1:], 1.0)


def test_nodes_must_exist() -> None:
    receiver, sender = index()
    with pytest.raises(RuntimeError, match=r"senders must lie in \[0, 9\)"):
        torch.ops.dpa4.pair_sum(random(NODES, 2), receiver, sender + NODES, 1.0)
