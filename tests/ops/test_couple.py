"""Products through coupling coefficients are those through the grid, with all derivatives."""

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.fx.experimental.proxy_tensor import make_fx

from deepmd_dpa4.nn.edge_grid import EdgeGridActivation
from deepmd_dpa4.nn.feedforward import GridFeedForward
from deepmd_dpa4.nn.grid_product import GridTables, MessageNodeProduct
from deepmd_dpa4.nn.initial import Initializer
from deepmd_dpa4.ops.field_product import (
    COUPLED_ROWS,
    FieldProduct,
    couple_multiply,
    coupling_entries,
    grid_multiply,
)
from deepmd_dpa4.ops.native.load import load
from deepmd_dpa4.so3.layout import group_size
from tests.support.backends import scripted_code, set_native
from tests.support.models import relative_error
from tests.support.weights import perturb

pytestmark = pytest.mark.skipif(not load(), reason="no native kernels on this machine")

GRIDS = [(lmax, kmax) for lmax in range(1, 6) for kmax in (None, 0, 1, 2) if kmax is None or kmax <= lmax]
INIT = Initializer(torch.float64, 1)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def derivatives(left: Tensor, right: Tensor, product: Tensor) -> list[Tensor]:
    """First derivatives against a random vector, and the second derivatives of a random function of those."""
    weight = random(*product.shape, seed=7).requires_grad_()
    first = torch.autograd.grad(product, (left, right), weight, create_graph=True)
    scalar = sum((g * random(*g.shape, seed=9 + i)).sum() for i, g in enumerate(first))
    return [*first, *torch.autograd.grad(scalar, (left, right, weight))]


@pytest.mark.parametrize(("lmax", "kmax"), GRIDS)
def test_equals_grid(lmax: int, kmax: int | None) -> None:
    tables = GridTables(lmax, kmax, True, torch.float64).multiply
    rows = tables.to_grid.shape[1]
    left, right = random(rows, 3, 7).requires_grad_(), random(rows, 3, 7, seed=1).requires_grad_()
    grid = grid_multiply(left, right, tables.to_grid, tables.from_grid, None)
    coupled = couple_multiply(left, right, tables.coupling_index, tables.coupling_value, None)
    assert relative_error(coupled, grid) < 1e-12
    for ours, expected in zip(derivatives(left, right, coupled), derivatives(left, right, grid)):
        assert relative_error(ours, expected) < 1e-12


@pytest.mark.parametrize("columns", [1, 15, 64, 65, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_number_of_columns(columns: int, dtype: torch.dtype) -> None:
    tables = GridTables(2, 1, True, torch.float64).multiply
    left, right = random(25, 1, columns, dtype=dtype), random(25, 1, columns, seed=1, dtype=dtype)
    grid = grid_multiply(left.double(), right.double(), tables.to_grid, tables.from_grid, None)
    coupled = couple_multiply(left, right, tables.coupling_index, tables.coupling_value.to(dtype), None)
    assert relative_error(coupled.double(), grid) < (1e-6 if dtype is torch.float32 else 1e-12)


@pytest.mark.parametrize("shape", [(0, 8), (5, 0)])
def test_nothing_to_do(shape: tuple[int, int]) -> None:
    tables = GridTables(2, None, True, torch.float64).multiply
    set_native(tables, True)
    left, right = random(9, *shape).requires_grad_(), random(9, *shape).requires_grad_()
    product = tables(left, right, None)
    assert product.shape == (9, *shape)
    product.sum().backward()
    assert left.grad is not None and left.grad.shape == left.shape


def test_operands_need_not_be_contiguous() -> None:
    tables = GridTables(2, 1, True, torch.float64).multiply
    both = random(25, 4, 12)
    left, right = both[:, :, :6], both[:, :, 6:]
    coupled = couple_multiply(left, right, tables.coupling_index, tables.coupling_value, None)
    assert relative_error(coupled, tables(left, right, None)) < 1e-12


@pytest.mark.parametrize("name", ["couple", "couple_adjoint", "couple_gradient"])
def test_derivatives_against_differences(name: str) -> None:
    """Also with entries in no particular order."""
    tables = GridTables(1, 1, True, torch.float64).multiply
    shuffle = torch.randperm(len(tables.coupling_value), generator=torch.Generator().manual_seed(3))
    index, value = tables.coupling_index[shuffle], tables.coupling_value[shuffle]
    count = 3 if name == "couple_gradient" else 2
    fields = [random(10, 3, seed=i).requires_grad_() for i in range(count)]
    operator = getattr(torch.ops.dpa4, name)

    def function(*fields: Tensor) -> Tensor:
        return operator(*fields, index, value)

    assert gradcheck(function, fields)
    assert gradgradcheck(function, fields)


def test_same_row_twice() -> None:
    """An entry (a, a, c) counts once, an entry (a, b, c) for both orders."""
    index = torch.tensor([[0, 0, 1], [0, 1, 0]], dtype=torch.int32)
    value = torch.tensor([2.0, 3.0])
    left, right = torch.tensor([[5.0], [7.0]]), torch.tensor([[11.0], [13.0]])
    product = torch.ops.dpa4.couple(left, right, index, value)
    assert product.flatten().tolist() == [3 * (5 * 13 + 7 * 11), 2 * 5 * 11]


def test_bad_operands() -> None:
    index, value = torch.tensor([[0, 0, 2]], dtype=torch.int32), torch.ones(1)
    with pytest.raises(IndexError, match="no row 2"):
        torch.ops.dpa4.couple(torch.ones(2, 3), torch.ones(2, 3), index, value)
    with pytest.raises(RuntimeError, match="differ in shape"):
        torch.ops.dpa4.couple(torch.ones(3, 3), torch.ones(3, 4), index, value)
    with pytest.raises(RuntimeError, match="differ in type"):
        torch.ops.dpa4.couple(torch.ones(3, 3), torch.ones(3, 3), index, value.double())


MODULES = {
    "feed-forward": (lambda: GridFeedForward(2, 1, 8, 6, "branch", 1, True, False, INIT), [(9, 5, 8)]),
    "branches": (lambda: GridFeedForward(3, 1, 8, 6, "branch", 3, True, True, INIT), [(16, 5, 8)]),
    "S2": (lambda: GridFeedForward(3, None, 8, 6, "mlp", 0, False, True, INIT), [(16, 5, 8)]),
    "message": (lambda: MessageNodeProduct(2, 1, "glu", 4, 2, 0, False, INIT), [(9, 5, 8), (9, 5, 8)]),
}


def outputs(module: torch.nn.Module, operands: list[Tensor]) -> list[Tensor]:
    """Result, gradients in the operands, and gradients of those in operands and weights."""
    result = module(*operands)
    first = torch.autograd.grad(result.square().sum(), operands, create_graph=True)
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    second = torch.autograd.grad(sum(g.square().sum() for g in first), [*operands, *weights], allow_unused=True)
    return [result, *first, *(g for g in second if g is not None)]


@pytest.mark.parametrize("name", MODULES)
def test_modules_agree_with_plain(name: str) -> None:
    build, shapes = MODULES[name]
    module = build()
    perturb(module, scale=0.5)
    operands = [random(*shape, seed=i).requires_grad_() for i, shape in enumerate(shapes)]
    plain = outputs(module, operands)
    set_native(module, True)
    for ours, expected in zip(outputs(module, operands), plain, strict=True):
        assert relative_error(ours, expected) < 1e-12


@pytest.mark.parametrize("mmax", [1, 2])
def test_edge_activation_agrees_with_plain(mmax: int) -> None:
    module = EdgeGridActivation(3, mmax, 4, 2, True, True, INIT)
    perturb(module, scale=0.5)
    groups = [random(2, 5, group_size(3, m) * 8, seed=m) for m in range(mmax + 1)]
    features = [random(2, 5, group_size(3, m) * 4, seed=m + 3) for m in range(mmax + 1)]
    plain = module(features, groups)
    set_native(module, True)
    for ours, expected in zip(module(features, groups), plain):
        assert relative_error(ours, expected) < 1e-12


def test_script_contains_the_chosen_path_only() -> None:
    module = MODULES["feed-forward"][0]()
    operand = random(9, 5, 8)
    expected = module(operand)
    assert "ops.dpa4." not in scripted_code(module)
    set_native(module, True)
    assert "ops.dpa4.couple(" in scripted_code(module)
    torch.testing.assert_close(torch.jit.script(module)(operand), expected, rtol=0, atol=1e-12)


def test_trace_records_operators_of_the_gradient() -> None:
    module = MODULES["feed-forward"][0]()
    perturb(module, scale=0.5)
    set_native(module, True)

    def gradient(x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        return torch.autograd.grad(module(x).square().sum(), x)[0]

    operand = random(9, 5, 8)
    traced = make_fx(gradient, tracing_mode="fake", _allow_non_fake_inputs=True)(operand)
    names = {str(node.target) for node in traced.graph.nodes}
    assert {"dpa4.couple.default", "dpa4.couple_gradient.default"} <= names
    torch.testing.assert_close(traced(operand), gradient(operand))


def test_reduced_precision_takes_the_grid() -> None:
    tables = GridTables(2, 1, True, torch.float32).multiply
    set_native(tables, True)
    left, right = random(25, 4, 6).bfloat16(), random(25, 4, 6, seed=1).bfloat16()
    expected = grid_multiply(left, right, tables.to_grid.bfloat16(), tables.from_grid.bfloat16(), None)
    with torch.autocast("cpu", torch.bfloat16):
        product = tables(left, right, None)
    torch.testing.assert_close(product, expected)


def test_very_large_grids_are_not_coupled() -> None:
    rows = COUPLED_ROWS + 1
    table = random(4, rows).numpy()
    product = FieldProduct(table, table.T.copy(), torch.float64)
    set_native(product, True)
    left, right = random(rows, 2, 2), random(rows, 2, 2, seed=1)
    expected = grid_multiply(left, right, product.to_grid, product.from_grid, None)
    torch.testing.assert_close(product(left, right, None), expected)


def test_entries_are_ordered_and_complete() -> None:
    tables = GridTables(3, 1, True, torch.float64).multiply
    to_grid, from_grid = tables.to_grid.numpy(), tables.from_grid.numpy()
    index, value = coupling_entries(to_grid, from_grid)
    assert (index[:, 0] <= index[:, 1]).all()
    dense = torch.zeros(46, 46, 46, dtype=torch.float64)
    a, b, c = torch.tensor(index).long().unbind(1)
    dense[a, b, c] = torch.tensor(value)
    dense[b, a, c] = torch.tensor(value)
    expected = torch.einsum("ga,gb,cg->abc", tables.to_grid, tables.to_grid, tables.from_grid)
    torch.testing.assert_close(dense, expected, rtol=0, atol=1e-12)
