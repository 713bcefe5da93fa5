"""The native attention of a receiver over its edges, against plain torch."""

import pytest
import torch
from torch import Tensor

from deepmd_dpa4.ops.native.load import load
from deepmd_dpa4.ops.softmax import envelope_softmax, native_envelope_softmax
from tests.support.models import relative_error

pytestmark = pytest.mark.skipif(not load(), reason="no native kernels on this machine")


def inputs(count: int, streams: int, heads: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Logits, weights and null mass."""
    generator = torch.Generator().manual_seed(0)
    logits = 2.0 * torch.randn(count, streams, heads, generator=generator, dtype=torch.float64)
    weight = torch.rand(count, generator=generator, dtype=torch.float64)
    null_mass = torch.rand(streams, heads, generator=generator, dtype=torch.float64) + 0.1
    return [x.to(dtype).requires_grad_(True) for x in (logits, weight, null_mass)]


def receivers(count: int, n: int) -> Tensor:
    return torch.randint(0, n, (count,), generator=torch.Generator().manual_seed(1)).sort().values


def native(logits: Tensor, weight: Tensor, null_mass: Tensor, receiver: Tensor, n: int) -> Tensor:
    return native_envelope_softmax(logits, weight, null_mass, receiver, n)


def plain(logits: Tensor, weight: Tensor, null_mass: Tensor, receiver: Tensor, n: int) -> Tensor:
    return envelope_softmax(logits, weight, None, null_mass, receiver, n)


def derivatives(function, leaves: list[Tensor], receiver: Tensor, n: int) -> list[Tensor]:
    """Value, first derivatives, and derivatives of those by leaves and cotangent."""
    value = function(*leaves, receiver, n)
    generator = torch.Generator().manual_seed(2)
    cotangent = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.dtype).requires_grad_(True)
    first = torch.autograd.grad(value, leaves, cotangent, create_graph=True)
    directions = [torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.dtype) for x in first]
    second = torch.autograd.grad(first, [*leaves, cotangent], directions)
    return [value, *first, *second]


@pytest.mark.parametrize(("streams", "heads"), [(1, 1), (2, 1), (3, 4)])
def test_equals_plain(streams: int, heads: int) -> None:
    leaves, receiver = inputs(1301, streams, heads), receivers(1301, 40)
    ours, expected = (derivatives(f, leaves, receiver, 42) for f in (native, plain))
    for x, y in zip(ours, expected, strict=True):
        assert x.shape == y.shape
        assert relative_error(x, y) < 1e-12


def test_single_precision() -> None:
    exact, receiver = inputs(500, 2, 2), receivers(500, 9)
    with torch.no_grad():
        # the second derivative by the weight grows as 1 / w**2
        exact[1].clamp_(min=0.1)
    single = [x.detach().float().requires_grad_(True) for x in exact]
    rounded = [x.detach().double().requires_grad_(True) for x in single]
    ours, expected = derivatives(native, single, receiver, 9), derivatives(plain, rounded, receiver, 9)
    for x, y in zip(ours, expected, strict=True):
        assert x.dtype == torch.float32
        assert relative_error(x.double(), y) < 3e-6


def test_derivatives() -> None:
    leaves, receiver = inputs(6, 2, 3), torch.tensor([0, 0, 0, 2, 2, 4])

    def attention(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return native(a, b, c, receiver, 5)

    assert torch.autograd.gradcheck(attention, leaves)
    assert torch.autograd.gradgradcheck(attention, leaves)


def test_no_edges() -> None:
    leaves = inputs(0, 2, 3)
    alpha = native(*leaves, receivers(0, 1), 4)
    assert alpha.shape == (0, 2, 3)
    assert torch.autograd.grad(alpha.sum(), leaves[2])[0].abs().max() == 0.0


@pytest.mark.parametrize("size", [800.0, -800.0])
def test_extreme_logits_neither_overflow_nor_vanish(size: float) -> None:
    logits, weight, null_mass = inputs(9, 1, 2)
    alpha = native(logits + size, weight, null_mass, torch.zeros(9, dtype=torch.int64), 1)
    total = alpha.sum(dim=0)
    torch.testing.assert_close(total, torch.full_like(total, 1.0 if size > 0 else 0.0), rtol=0, atol=1e-14)


def test_weightless_edges_do_not_count() -> None:
    logits, weight, null_mass = inputs(6, 1, 2)
    with torch.no_grad():
        weight[[0, 4]] = torch.tensor([0.0, 1e-25], dtype=torch.float64)
    receiver = torch.tensor([0, 0, 0, 2, 2, 4])
    found = derivatives(native, [logits, weight, null_mass], receiver, 5)
    assert found[0][[0, 4]].abs().max() < 1e-30
    assert all(bool(torch.isfinite(x).all()) for x in found)


def test_traces_with_symbolic_sizes() -> None:
    from torch.fx.experimental.proxy_tensor import make_fx

    def gradient(logits: Tensor, weight: Tensor, null_mass: Tensor, receiver: Tensor) -> Tensor:
        logits = logits.detach().requires_grad_(True)
        value = native(logits, weight, null_mass, receiver, 5)
        return torch.autograd.grad(value.square().sum(), logits)[0]

    small = [x.detach() for x in inputs(7, 2, 3)]
    traced = make_fx(gradient, tracing_mode="symbolic")(*small, receivers(7, 5))
    assert "edge_softmax_backward" in traced.code
    large = [x.detach() for x in inputs(19, 2, 3)]
    torch.testing.assert_close(traced(*large, receivers(19, 5)), gradient(*large, receivers(19, 5)))
