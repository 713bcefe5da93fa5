"""The native product of matrices against that of torch."""

import platform
from itertools import product

import pytest
import torch
from torch import Tensor

from deepmd_dpa4.ops.matrix_product import Product
from deepmd_dpa4.ops.native.load import load
from tests.support.backends import set_native
from tests.support.models import relative_error

pytestmark = pytest.mark.skipif(not load(), reason="no native kernels on this machine")

SHAPES = [
    ((5, 3), (3, 2)),
    ((1, 1), (1, 1)),
    ((300, 96), (96, 96)),
    ((97, 300), (300, 65)),
    ((16, 5000), (5000, 13)),
    ((200, 9000), (9000, 7)),
    ((4, 7, 3), (3, 33)),
    ((2, 3, 7, 3), (3, 16)),
    ((9, 50, 32), (9, 32, 48)),
    ((25, 200, 20), (25, 20, 7)),
    ((3, 2, 4100), (3, 4100, 2)),
]


def native(a: Tensor, b: Tensor) -> Tensor:
    return torch.ops.dpa4.matrix_product(a, b)


def matrices(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_(True)


def derivatives(function, a: Tensor, b: Tensor) -> list[Tensor]:
    """Value, first and second derivatives along fixed directions."""
    value = function(a, b)
    probe = torch.linspace(-1, 1, value.numel(), dtype=value.dtype).view_as(value)
    first = torch.autograd.grad(value, (a, b), probe, create_graph=True)
    directions = [torch.linspace(-1, 2, x.numel(), dtype=x.dtype).view_as(x) for x in first]
    second = torch.autograd.grad(first, (a, b), directions)
    return [value, *first, *second]


@pytest.mark.parametrize(("left", "right"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_equals_torch(left: tuple[int, ...], right: tuple[int, ...], dtype: torch.dtype) -> None:
    a, b = matrices(left, 1, dtype), matrices(right, 2, dtype)
    ours, theirs = (derivatives(f, a, b) for f in (native, torch.matmul))
    for x, y in zip(ours, theirs, strict=True):
        assert x.shape == y.shape
        assert relative_error(x, y) < (1e-13 if dtype == torch.float64 else 5e-6)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only there arithmetic with subnormal numbers is slow")
def test_subnormal_numbers_are_zero() -> None:
    """Attention weights of far edges are such numbers; products with them took a hundred times as long."""
    left, right = torch.full([300, 96], 1e-20), torch.eye(96)
    assert torch.equal(native(left, 1e-20 * right), torch.zeros(300, 96))
    assert torch.equal(native(1e-20 * left, right), torch.zeros(300, 96))
    assert torch.equal(native(left, right), left)


def test_derivatives_of_any_order() -> None:
    for left, right in (((4, 3), (3, 5)), ((2, 4, 3), (3, 2)), ((2, 4, 3), (2, 3, 5))):
        a, b = matrices(left, 1), matrices(right, 2)
        assert torch.autograd.gradcheck(native, (a, b))
        assert torch.autograd.gradgradcheck(native, (a, b))
        assert torch.autograd.gradgradcheck(
            lambda x, y: torch.autograd.grad(native(x, y).pow(3).sum(), x, create_graph=True)[0], (a, b)
        )


def test_any_strides() -> None:
    whole = matrices((12, 40, 24), 1).detach()
    views = {
        "transposed": whole.transpose(1, 2),
        "every second": whole[::2, ::2, ::2],
        "turned": whole.permute(1, 2, 0),
        "expanded": whole[:1].expand(6, -1, -1),
        "constant": whole.new_tensor(0.5).expand(6, 20, 12),
    }
    for (name, a), shared in product(views.items(), (False, True)):
        b = matrices((a.shape[0], 17, a.shape[2]), 2).detach().transpose(1, 2)
        b = b[0] if shared else b
        torch.testing.assert_close(native(a, b), a @ b, msg=name)


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 4, 3)])
def test_module_takes_features_of_any_dimension(shape: tuple[int, ...]) -> None:
    x, weight, module = matrices(shape, 1), matrices((3, 5), 2), Product()
    expected = module(x, weight)
    set_native(module, True)
    for multiply in (module, torch.jit.script(module)):
        torch.testing.assert_close(multiply(x, weight), expected)


def test_nothing_to_multiply() -> None:
    for left, right in (((0, 3), (3, 2)), ((4, 0), (0, 2)), ((2, 4, 3), (3, 0)), ((0, 4, 3), (0, 3, 2))):
        a, b = matrices(left, 1), matrices(right, 2)
        result = native(a, b)
        assert torch.equal(result, a @ b)
        by_a, by_b = torch.autograd.grad(result.sum(), (a, b))
        assert by_a.shape == left
        assert torch.equal(by_b, torch.zeros(right, dtype=torch.float64))


def test_repeats_to_the_bit() -> None:
    a, b = matrices((16, 9000), 1, torch.float32), matrices((9000, 24), 2, torch.float32)
    assert all(torch.equal(native(a, b), native(a, b)) for _ in range(5))


@pytest.mark.parametrize(
    ("left", "right"), [((4, 3), (4, 2)), ((3,), (3, 2)), ((2, 4, 3), (3, 3, 2)), ((4, 3), (1, 3, 2))]
)
def test_refuses_sizes_that_do_not_match(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    with pytest.raises(RuntimeError, match="do not match"):
        native(torch.zeros(left), torch.zeros(right))


def test_refuses_two_types() -> None:
    with pytest.raises(RuntimeError, match="differ"):
        native(torch.zeros(4, 3), torch.zeros(3, 2, dtype=torch.float64))


def test_traces_with_symbolic_sizes() -> None:
    from torch.fx.experimental.proxy_tensor import make_fx

    def gradient(a: Tensor, b: Tensor) -> Tensor:
        a = a.detach().requires_grad_(True)
        return torch.autograd.grad(native(a, b).square().sum(), a)[0]

    traced = make_fx(gradient, tracing_mode="symbolic")(matrices((6, 3), 1).detach(), matrices((3, 5), 2).detach())
    assert "matrix_product" in traced.code
    longer = (matrices((9, 3), 3).detach(), matrices((3, 5), 4).detach())
    torch.testing.assert_close(traced(*longer), gradient(*longer))
