"""The native SiLU and its derivatives against those of torch."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from deepmd_dpa4.ops.native.load import load

pytestmark = pytest.mark.skipif(not load(), reason="no native kernels on this machine")


def native(x: Tensor) -> Tensor:
    return torch.ops.dpa4.silu(x)


def derivatives(function, x: Tensor) -> list[Tensor]:
    """Value, first and second derivatives along fixed directions."""
    x = x.detach().requires_grad_(True)
    probe = torch.linspace(-1, 1, x.numel(), dtype=x.dtype).view_as(x).requires_grad_(True)
    value = function(x)
    (first,) = torch.autograd.grad(value, x, probe, create_graph=True)
    second = torch.autograd.grad(first, (x, probe), torch.cos(7 * probe.detach()))
    return [value, first, *second]


@pytest.mark.parametrize("shape", [(1,), (3, 5), (257, 13), (400, 96)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_equals_torch(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x = 4 * torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    bound = 1e-14 if dtype == torch.float64 else 2e-6
    for ours, theirs in zip(derivatives(native, x), derivatives(functional.silu, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=bound, atol=bound)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_far_from_zero(dtype: torch.dtype) -> None:
    x = torch.tensor([-1e4, -200.0, -80.0, 80.0, 200.0, 1e4], dtype=dtype)
    for ours, theirs in zip(derivatives(native, x), derivatives(functional.silu, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-30)


def test_keeps_what_is_no_number() -> None:
    assert native(torch.tensor([0.0, float("nan"), 1.0])).isnan().tolist() == [False, True, False]


def test_derivatives() -> None:
    x = torch.linspace(-3, 3, 21, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(native, (x,))
    assert torch.autograd.gradgradcheck(native, (x,))


def test_any_strides_and_none() -> None:
    x = torch.linspace(-3, 3, 60, dtype=torch.float64).view(10, 6).t()[::2]
    torch.testing.assert_close(native(x), functional.silu(x))
    for ours, theirs in zip(derivatives(native, x[:0]), derivatives(functional.silu, x[:0]), strict=True):
        assert ours.shape == theirs.shape == (0, 10)


def test_traces_with_symbolic_sizes() -> None:
    from torch.fx.experimental.proxy_tensor import make_fx

    def gradient(x: Tensor) -> Tensor:
        x = x.detach().requires_grad_(True)
        return torch.autograd.grad(native(x).square().sum(), x)[0]

    traced = make_fx(gradient, tracing_mode="symbolic")(torch.linspace(-1, 1, 7))
    assert "silu_backward" in traced.code
    longer = torch.linspace(-2, 2, 19)
    torch.testing.assert_close(traced(longer), gradient(longer))
