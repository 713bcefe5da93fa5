"""The native sums of outer products over the edges of each receiver, against plain torch."""

import pytest
import torch
from torch import Tensor

from deepmd_dpa4.ops.native.load import load
from deepmd_dpa4.ops.outer_sum import outer_sum
from tests.support.models import relative_error

RECEIVER = torch.tensor([0, 0, 0, 2, 2, 4])
N = 6  # receivers 1, 3 and 5 have no edges

pytestmark = pytest.mark.skipif(not load(), reason="no native kernels on this machine")


def native(a: Tensor, b: Tensor, receiver: Tensor = RECEIVER, n: int = N) -> Tensor:
    return torch.ops.dpa4.outer_sum(a, b, receiver, n)


def rows(count: int, width: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator, dtype=torch.float64).to(dtype).requires_grad_(True)


def derivatives(function, a: Tensor, b: Tensor, receiver: Tensor, n: int) -> list[Tensor]:
    """Value, first and second derivatives along fixed directions."""
    value = function(a, b, receiver, n)
    probe = torch.linspace(-1, 1, value.numel(), dtype=value.dtype).view_as(value)
    first = torch.autograd.grad(value, (a, b), probe, create_graph=True)
    second = torch.autograd.grad(sum((x * x.detach().cos()).sum() for x in first), (a, b))
    return [value, *first, *second]


@pytest.mark.parametrize(("left", "right"), [(4, 64), (8, 16), (35, 7), (1, 1), (3, 33)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_equals_plain(left: int, right: int, dtype: torch.dtype) -> None:
    receiver = torch.randint(0, 40, (1500,), generator=torch.Generator().manual_seed(0)).sort().values
    a, b = rows(1500, left, 1, dtype), rows(1500, right, 2, dtype)
    ours, plain = (derivatives(f, a, b, receiver, 41) for f in (native, outer_sum))
    for x, y in zip(ours, plain, strict=True):
        assert relative_error(x, y) < (1e-14 if dtype == torch.float64 else 2e-6)


def test_derivatives() -> None:
    a, b = rows(6, 3, 1), rows(6, 5, 2)
    assert torch.autograd.gradcheck(native, (a, b))
    assert torch.autograd.gradgradcheck(native, (a, b))
    sums = torch.randn(N, 3, 5, dtype=torch.float64, requires_grad=True)
    for operator, operand in ((torch.ops.dpa4.outer_sum_left, b), (torch.ops.dpa4.outer_sum_right, a)):
        assert torch.autograd.gradcheck(lambda s, x, f=operator: f(s, x, RECEIVER), (sums, operand))
        assert torch.autograd.gradgradcheck(lambda s, x, f=operator: f(s, x, RECEIVER), (sums, operand))


def test_no_edges() -> None:
    a, b = rows(0, 3, 1), rows(0, 5, 2)
    total = native(a, b, RECEIVER[:0], 4)
    assert total.shape == (4, 3, 5)
    assert total.abs().max() == 0.0
    assert torch.autograd.grad(total.sum(), (a, b))[0].shape == (0, 3)


def test_one_receiver_for_all_edges() -> None:
    a, b = rows(5000, 4, 1), rows(5000, 16, 2)
    receiver = torch.full([5000], 2)
    torch.testing.assert_close(native(a, b, receiver, 3)[2], a.t() @ b)


def test_rows_of_any_stride() -> None:
    a, b = rows(6, 6, 1)[:, ::2], rows(5, 6, 2).t()
    torch.testing.assert_close(native(a, b), outer_sum(a, b, RECEIVER, N))


def test_repeats_to_the_bit() -> None:
    receiver = torch.arange(3000) // 70
    a, b = rows(3000, 4, 1, torch.float32), rows(3000, 48, 2, torch.float32)
    assert all(torch.equal(native(a, b, receiver, 43), native(a, b, receiver, 43)) for _ in range(5))


def test_refuses_unsorted_and_foreign_receivers() -> None:
    a, b = rows(6, 3, 1), rows(6, 5, 2)
    with pytest.raises(RuntimeError, match="sorted by receiver"):
        native(a, b, RECEIVER.flip(0))
    with pytest.raises(RuntimeError, match="must lie in"):
        native(a, b, RECEIVER, 4)


def test_traces_with_symbolic_sizes() -> None:
    from torch.fx.experimental.proxy_tensor import make_fx

    def gradient(a: Tensor, b: Tensor, receiver: Tensor) -> Tensor:
        a = a.detach().requires_grad_(True)
        return torch.autograd.grad(native(a, b, receiver).square().sum(), a)[0]

    inputs = (rows(6, 3, 1).detach(), rows(6, 5, 2).detach(), RECEIVER)
    traced = make_fx(gradient, tracing_mode="symbolic")(*inputs)
    assert "outer_sum_left" in traced.code
    longer = (rows(9, 3, 3).detach(), rows(9, 5, 4).detach(), torch.arange(9) // 2)
    torch.testing.assert_close(traced(*longer), gradient(*longer))
