"""The native edge operator computes what plain torch computes, with first and second derivatives."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from deepmd_dpa4.graph.graph import Graph
from deepmd_dpa4.model.potential import Potential
from deepmd_dpa4.ops.native.load import load
from tests.support.backends import set_native
from tests.support.frames import Frame, frame, golden_frame, isolated_frame, tiny_cell_frame
from tests.support.models import active_potential, graph_of, relative_error
from tests.support.options import AIR, MINI, NANO, NEO, PLUS, PRO, Options

CASES: dict[str, Options] = {
    "mini": MINI,
    "nano": NANO,
    "neo": NEO,
    "air": AIR,
    "plus, width not a multiple of a vector": PLUS | {"channels": 24},
    "lmax 5, rank 2, two streams": PRO | {"channels": 16, "n_blocks": 2},
    "four heads": NEO | {"n_atten_head": 4},
    "no attention, three streams": MINI | {"n_atten_head": 0, "n_focus": 3},
    "mmax 2": NEO | {"mmax": 2, "radial_so2_rank": 2},
    "mmax 0": MINI | {"mmax": 0},
    "schedules": MINI | {"l_schedule": [3, 2], "m_schedule": [2, 1]},
    "one kernel for all channels": NEO | {"radial_so2_mode": "degree"},
    "narrow streams without norm": NEO | {"focus_dim": 20, "edge_norm": False},
    "one layer": MINI | {"mixing_layers": 1},
    "one envelope": MINI | {"env_exp": 5},
    "one envelope, fixed Gaussians": NANO | {"env_exp": 4, "basis_type": "gaussian/fix"},
}
NOT_COVERED: dict[str, Options] = {
    "grid activation": MINI | {"s2_activation": [True, True]},
    "biases": MINI | {"mlp_bias": True},
    "tanh": MINI | {"activation_function": "tanh"},
    "a kernel for every channel": MINI | {"radial_so2_rank": 0},
    "no layers": MINI | {"mixing_layers": 0},
    "lmax 6": MINI | {"lmax": 6, "n_blocks": 1},
}


@pytest.fixture(autouse=True, scope="module")
def library() -> None:
    assert load()


def results(potential: Potential, graph: Graph) -> dict[str, Tensor]:
    """Energy, forces, virial, and the gradient of a mixture of them with respect to every parameter."""
    potential.train()
    out = potential(graph, 1)
    generator = torch.Generator().manual_seed(3)
    loss = out["energy"].sum()
    for name in ("force", "virial"):
        loss = loss + (out[name] * torch.randn(out[name].shape, generator=generator, dtype=torch.float64)).sum()
    parameters = {name: value for name, value in potential.named_parameters() if value.requires_grad}
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    found = {name: out[name] for name in ("energy", "force", "virial")}
    return found | {name: g for name, g in zip(parameters, gradients, strict=True) if g is not None}


def assert_same(potential: Potential, frame: Frame) -> None:
    graph = graph_of(frame)
    set_native(potential, False)
    expected = results(potential, graph)
    set_native(potential, True)
    found = results(potential, graph)
    largest = max(float(value.abs().max()) for name, value in expected.items() if "." in name)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if "." in name and value.abs().max() < 1e-9 * largest:
            continue
        assert relative_error(found[name], value) < (1e-10 if "." in name else 1e-12), name


@pytest.mark.parametrize("build", [golden_frame, tiny_cell_frame], ids=["golden", "tiny cell"])
@pytest.mark.parametrize("name", CASES)
def test_model_equals_plain_torch(name: str, build: Any) -> None:
    potential = active_potential(CASES[name])
    set_native(potential, True)
    assert all(potential.descriptor.served(torch.zeros(0)))
    assert_same(potential, build())


def test_zone_bridging() -> None:
    assert_same(active_potential(MINI, bridging=(0.8, 1.1)), golden_frame())


@pytest.mark.parametrize("name", NOT_COVERED)
def test_other_networks_run_in_plain_torch(name: str) -> None:
    potential = active_potential(NOT_COVERED[name])
    set_native(potential, True)
    assert not any(potential.descriptor.served(torch.zeros(0)))
    assert_same(potential, golden_frame())


def test_isolated_atom() -> None:
    assert_same(active_potential(MINI), isolated_frame())


@pytest.mark.parametrize("options", [MINI, NANO], ids=["mini", "nano"])
def test_no_edges(options: Options) -> None:
    assert_same(active_potential(options), frame([[0.0, 0.0, 0.0]], [0]))


def arguments(
    lmax: int, mmax: int, streams: int, width: int, heads: int, layers: int, rank: int, norm: bool, edges: int = 7
) -> tuple[list[Tensor | None], list[Any], dict[str, Any]]:
    """Random differentiable arguments of the operator, the other ones, and its sizes."""
    generator = torch.Generator().manual_seed(1)
    sender, receiver = torch.tensor([1, 2, 0, 2, 0, 3, 1]), torch.tensor([0, 0, 1, 1, 2, 2, 2])
    if edges != 7:
        sender = torch.randint(4, (edges,), generator=generator)
        receiver = torch.randint(3, (edges,), generator=generator).sort().values
    nodes, size = 4, (lmax + 1) ** 2
    weights = sum((1 if m == 0 else 2) * ((lmax - m + 1) * width) ** 2 for m in range(mmax + 1))
    table = sum((2 * l + 1) * (2 * min(l, mmax) + 1) for l in range(lmax + 1))
    mixing = sum((lmax - m + 1) ** 2 for m in range(mmax + 1)) * rank or (lmax + 1) * streams * width
    stack = layers * streams * weights + (layers - 1) * streams * width * lmax * width

    def random(*shape: int) -> Tensor:
        return (0.4 * torch.randn(shape, generator=generator, dtype=torch.float64)).requires_grad_()

    differentiable = [
        random(nodes, max(rank, 1) * size, streams * width),
        random(edges, table),
        random(edges, mixing),
        random(edges, streams, heads),
        random(stack),
        random(streams, width) if streams > 1 else None,
    ]
    sizes = {"lmax": lmax, "mmax": mmax, "table_mmax": mmax, "streams": streams, "heads": heads}
    return differentiable, [sender, receiver, nodes], sizes | {"layers": layers, "rank": rank, "focus_norm": norm}


SHAPES = {
    "mixer": (1, 1, 1, 2, 1, 2, 1, False),
    "two streams, two heads": (1, 1, 2, 2, 2, 2, 1, True),
    "scales, three layers": (2, 1, 1, 1, 1, 3, 0, False),
    "rank 2, mmax 2, not normalised": (2, 2, 2, 1, 1, 2, 2, False),
}


@pytest.mark.parametrize("name", SHAPES)
def test_derivatives_are_derivatives(name: str) -> None:
    """Finite differences, also of the gradient, with respect to every argument, weights included."""
    differentiable, rest, sizes = arguments(*SHAPES[name])
    given = [x for x in differentiable if x is not None]

    def run(*values: Tensor) -> Tensor:
        focus = values[5] if len(values) > 5 else None
        return torch.ops.dpa4.edge_message(*values[:5], focus, *rest, **sizes)

    assert torch.autograd.gradcheck(run, given, fast_mode=True)
    assert torch.autograd.gradgradcheck(run, given, fast_mode=True, atol=1e-7)


@pytest.mark.parametrize("name", SHAPES)
def test_schema_and_shape_function(name: str) -> None:
    differentiable, rest, sizes = arguments(*SHAPES[name])
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(torch.ops.dpa4.edge_message.default, (*differentiable, *rest), sizes, test_utils=checks)
    given = [None if x is None else x.detach() for x in differentiable]
    torch.library.opcheck(torch.ops.dpa4.edge_message_keeping.default, (*given, *rest, 2), sizes, test_utils=checks[:2])


def kept_and_recomputed(name: str, dtype: torch.dtype, parts: int, threads: int) -> list[tuple[Tensor, Tensor]]:
    """Values, gradients and second derivatives of three tiles, with kept values and without."""
    differentiable, rest, sizes = arguments(*SHAPES[name], edges=130)
    generator = torch.Generator().manual_seed(2)
    given = [None if x is None else x.detach().to(dtype) for x in differentiable]
    dots = [None if x is None else torch.randn(x.shape, generator=generator).to(dtype) for x in given]
    ops = torch.ops.dpa4
    plain = ops.edge_message(*given, *rest, **sizes)
    out, kept = ops.edge_message_keeping(*given, *rest, parts, **sizes)
    gradient = torch.randn(out.shape, generator=generator).to(dtype)
    before, ends = kept.clone(), rest[:2]
    torch.set_num_threads(threads)
    pairs = [(out, plain)]
    for op, tangents, wanted in (
        (ops.edge_message_backward, [], [True] * 6),
        (ops.edge_message_backward_backward, dots, [True] * 7),
    ):
        full = (gradient, *given, *tangents, *ends, wanted)
        pairs += zip(op(*full, kept, parts, **sizes), op(*full, **sizes), strict=True)
    assert torch.equal(kept, before)
    return pairs


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SHAPES)
def test_kept_values_change_no_digit(name: str, dtype: torch.dtype, one_thread: None) -> None:
    for with_kept, without in kept_and_recomputed(name, dtype, parts=1, threads=1):
        assert torch.equal(with_kept, without)


@pytest.mark.parametrize(("parts", "threads"), [(2, 1), (3, 2), (1, 2)])
def test_kept_values_serve_any_number_of_threads(parts: int, threads: int, one_thread: None) -> None:
    """Tiles are those of the forward pass, however many threads the backward pass has."""
    for with_kept, without in kept_and_recomputed("two streams, two heads", torch.float64, parts, threads):
        assert with_kept.numel() == 0 or relative_error(with_kept, without) < 1e-13


def kept_bytes(differentiable: list[Tensor | None], rest: list[Any], sizes: dict[str, Any]) -> int:
    """Bytes that the forward pass hands to a derivative, beyond its arguments."""
    arguments_ = {x.untyped_storage()._cdata for x in (*differentiable, *rest) if isinstance(x, Tensor)}
    found: list[Tensor] = []

    def pack(x: Tensor) -> Tensor:
        found.append(x)
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        torch.ops.dpa4.edge_message(*differentiable, *rest, **sizes)
    return sum(x.numel() * x.element_size() for x in found if x.untyped_storage()._cdata not in arguments_)


def test_what_is_kept() -> None:
    """Values are kept for a derivative that can follow, unless they are many or the call is traced."""
    differentiable, rest, sizes = arguments(*SHAPES["scales, three layers"])
    assert kept_bytes(differentiable, rest, sizes) > 0
    constants = [None if x is None else x.detach() for x in differentiable]
    with FakeTensorMode() as mode:
        fake = [None if x is None else mode.from_tensor(x) for x in differentiable]
        assert kept_bytes(fake, [*map(mode.from_tensor, rest[:2]), rest[2]], sizes) == 0
    graph = make_fx(lambda x: torch.ops.dpa4.edge_message(x, *differentiable[1:], *rest, **sizes))(differentiable[0])
    assert "keeping" not in graph.code
    assert kept_bytes(constants, rest, sizes) == 0
    many, rest, sizes = arguments(5, 1, 1, 8, 1, 64, 0, False, edges=8200)
    few, few_rest, few_sizes = arguments(5, 1, 1, 8, 1, 64, 0, False, edges=1000)
    bytes_of_an_edge = kept_bytes(few, few_rest, few_sizes) / 1000
    assert 8200 * bytes_of_an_edge > 2**29
    assert kept_bytes(many, rest, sizes) == 0


def test_values_of_other_edges_are_refused() -> None:
    differentiable, rest, sizes = arguments(*SHAPES["mixer"])
    given = [None if x is None else x.detach() for x in differentiable]
    out, kept = torch.ops.dpa4.edge_message_keeping(*given, *rest, 1, **sizes)
    for wrong in ((kept[:-1].contiguous(), 1), (kept, 0)):
        with pytest.raises(RuntimeError, match="`kept` does not come from a forward pass on these edges"):
            torch.ops.dpa4.edge_message_backward(out, *given, *rest[:2], [True] * 6, *wrong, **sizes)


def test_receivers_without_edges_get_nothing() -> None:
    differentiable, rest, sizes = arguments(*SHAPES["mixer"])
    out = torch.ops.dpa4.edge_message(*differentiable, *rest, **sizes)
    assert out[3].abs().max() == 0
    assert out[:3].abs().amin(dim=(1, 2)).min() >= 0


@pytest.mark.parametrize("name", SHAPES)
def test_single_precision(name: str) -> None:
    differentiable, rest, sizes = arguments(*SHAPES[name])

    def gradients(dtype: torch.dtype) -> list[Tensor]:
        given = [None if x is None else x.detach().to(dtype).requires_grad_() for x in differentiable]
        out = torch.ops.dpa4.edge_message(*given, *rest, **sizes)
        return [out, *torch.autograd.grad(out.square().sum(), [x for x in given if x is not None])]

    for single, double in zip(gradients(torch.float32), gradients(torch.float64), strict=True):
        assert relative_error(single.double(), double) < 1e-6


def test_the_same_twice() -> None:
    """Sums over threads have a fixed order: restarting a training repeats it to the last digit."""
    single = active_potential(NEO | {"precision": "float32"}, noise=0.2, dtype=torch.float32)
    set_native(single, True)
    graph = graph_of(golden_frame())
    first, second = results(single, graph), results(single, graph)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_wrong_sizes_are_named() -> None:
    differentiable, rest, sizes = arguments(*SHAPES["mixer"])
    short = [*differentiable[:4], differentiable[4][1:], None]  # type: ignore[index]
    with pytest.raises(RuntimeError, match="`stack` has the wrong size"):
        torch.ops.dpa4.edge_message(*short, *rest, **sizes)


def test_edges_that_do_not_fit_are_refused() -> None:
    """Otherwise threads would write over each other, or outside of the arrays."""
    differentiable, (sender, receiver, nodes), sizes = arguments(*SHAPES["mixer"])
    with pytest.raises(RuntimeError, match="sorted by receiver"):
        torch.ops.dpa4.edge_message(*differentiable, sender, receiver.flip(0), nodes, **sizes)
    with pytest.raises(RuntimeError, match=r"senders must lie in \[0, 4\)"):
        torch.ops.dpa4.edge_message(*differentiable, sender + 2, receiver, nodes, **sizes)
