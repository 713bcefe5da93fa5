"""Node-wise layers commute with rotations of their packed features; layers of an edge frame with turns about z."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from deepmd_dpa4.nn.edge_grid import EdgeGridActivation
from deepmd_dpa4.nn.feedforward import FeedForward, GridFeedForward
from deepmd_dpa4.nn.gate import EdgeGate, NodeGate
from deepmd_dpa4.nn.grid_product import MessageNodeProduct
from deepmd_dpa4.nn.initial import Initializer
from deepmd_dpa4.nn.linear import SO3Linear
from deepmd_dpa4.nn.norm import EquivariantRMSNorm
from deepmd_dpa4.nn.so2_linear import SO2Linear, join_orders, split_orders
from deepmd_dpa4.so3.layout import edge_rows, packed_index
from tests.support.rotations import random_rotations, wigner_matrix
from tests.support.weights import perturb

LMAX, NODES, CHANNELS = 3, 5, 8
INIT = Initializer(torch.float64, 1)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


NODE_LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: SO3Linear(LMAX, CHANNELS, 6, True, INIT),
    "norm": lambda: EquivariantRMSNorm(LMAX, CHANNELS, 1e-5, INIT),
    "feed-forward": lambda: FeedForward(LMAX, CHANNELS, 12, False, "silu", True, INIT),
    "gated feed-forward": lambda: FeedForward(LMAX, CHANNELS, 12, True, "silu", True, INIT),
    "S2 glu": lambda: GridFeedForward(LMAX, None, CHANNELS, 4, "glu", 0, True, True, INIT),
    "S2 glu, product grid": lambda: GridFeedForward(LMAX, None, CHANNELS, 4, "glu", 0, False, True, INIT),
    "S2 mlp": lambda: GridFeedForward(LMAX, None, CHANNELS, 4, "mlp", 0, True, False, INIT),
    "SO3 glu": lambda: GridFeedForward(LMAX, 1, CHANNELS, 4, "glu", 0, True, True, INIT),
    "SO3 mlp": lambda: GridFeedForward(LMAX, 1, CHANNELS, 4, "mlp", 0, True, True, INIT),
    "SO3 branch": lambda: GridFeedForward(LMAX, 1, CHANNELS, 4, "branch", 3, True, True, INIT),
    "SO3 one branch, kmax 2": lambda: GridFeedForward(LMAX, 2, CHANNELS, 4, "branch", 1, True, False, INIT),
}


def assert_commutes(function: Callable[..., Tensor], operands: list[Tensor], turn: Tensor) -> None:
    """f(T x) = T f(x) and f is not blind to the rotation."""
    result = function(*operands)
    expected = torch.einsum("pq,qnc->pnc", turn, result)
    turned = function(*[torch.einsum("pq,qnc->pnc", turn, x) for x in operands])
    scale = result.abs().max()
    assert (turned - expected).abs().max() < 1e-12 * scale
    assert (turned - result).abs().max() > 1e-2 * scale


@pytest.mark.parametrize("name", NODE_LAYERS)
def test_node_layer(name: str) -> None:
    layer = NODE_LAYERS[name]()
    perturb(layer, scale=0.5)
    features = random((LMAX + 1) ** 2, NODES, CHANNELS)
    for rotation in random_rotations(2):
        assert_commutes(layer, [features], wigner_matrix(rotation, LMAX))


@pytest.mark.parametrize("kind", ["glu", "mlp", "branch"])
@pytest.mark.parametrize("streams", [1, 2])
def test_message_node_product(kind: str, streams: int) -> None:
    layer = MessageNodeProduct(LMAX, 1, kind, CHANNELS // streams, streams, 2, True, INIT)
    perturb(layer, scale=0.5)
    query, context = random(16, NODES, CHANNELS), random(16, NODES, CHANNELS, seed=1)
    assert_commutes(layer, [query, context], wigner_matrix(random_rotations(1)[0], LMAX))


def test_gate_with_two_operands() -> None:
    layer = NodeGate(LMAX, CHANNELS, "silu", True, INIT)
    perturb(layer, scale=0.5)
    operands = [random(16, NODES, CHANNELS), random(16, NODES, CHANNELS, seed=1)]
    assert_commutes(layer, operands, wigner_matrix(random_rotations(1)[0], LMAX))


@pytest.mark.parametrize("name", [name for name in NODE_LAYERS if name not in ("linear", "norm")])
def test_scalar_row_is_the_first_row(name: str) -> None:
    layer = NODE_LAYERS[name]()
    perturb(layer, scale=0.5)
    features = random(16, NODES, CHANNELS)
    torch.testing.assert_close(layer.scalar_row(features), layer(features)[0], rtol=0, atol=1e-12)


EDGE_LAYERS: dict[str, Callable[[int, int], nn.Module]] = {
    "linear": lambda mmax, streams: SO2Linear(LMAX, mmax, 4, 4, streams, True, INIT),
    "gate": lambda mmax, streams: EdgeGate(None, LMAX, 4, streams, "silu", True, INIT),
    "grid": lambda mmax, streams: EdgeGridActivation(LMAX, mmax, 2, streams, True, True, INIT),
    "product grid": lambda mmax, streams: EdgeGridActivation(LMAX, mmax, 2, streams, False, True, INIT),
}


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("mmax", [1, 2])
@pytest.mark.parametrize("name", EDGE_LAYERS)
def test_edge_layer_commutes_with_turns_about_the_edge(name: str, mmax: int, streams: int) -> None:
    layer = EDGE_LAYERS[name](mmax, streams)
    perturb(layer, scale=0.5)
    angle = torch.tensor(0.9, dtype=torch.float64)
    c, s = torch.cos(angle).item(), torch.sin(angle).item()
    about_z = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=torch.float64)
    rows = [packed_index(l, m) for l, m in edge_rows(LMAX, mmax)]
    turn = wigner_matrix(about_z, LMAX)[rows][:, rows]
    width = 2 if "grid" in name else 4

    def apply(x: Tensor) -> Tensor:
        local = x.transpose(0, 1)
        groups = split_orders(local, LMAX, mmax, streams)
        if name == "linear":
            return join_orders(layer(groups, None), width).transpose(0, 1)
        some = local.unflatten(2, (streams, 4))[..., :width].flatten(2)
        result = layer(split_orders(some, LMAX, mmax, streams), groups)
        return join_orders(result, width).transpose(0, 1)

    assert_commutes(apply, [random(len(rows), NODES, 4 * streams)], turn)
