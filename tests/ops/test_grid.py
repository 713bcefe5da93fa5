"""Products on a grid."""

import pytest
import torch
from torch import Tensor

from deepmd_dpa4.nn.grid_product import GridTables
from deepmd_dpa4.ops.field_product import grid_multiply, grid_multiply_scalar


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


GRIDS = {"S2": (3, None, True), "S2 product grid": (3, None, False), "SO3": (3, 1, True), "kmax 2": (2, 2, True)}


@pytest.fixture(params=GRIDS)
def tables(request: pytest.FixtureRequest) -> GridTables:
    return GridTables(*GRIDS[request.param], torch.float64)


@pytest.mark.parametrize("branches", [1, 3])
def test_scalar_shortcut_is_the_first_row(tables: GridTables, branches: int) -> None:
    rows = tables.multiply.to_grid.shape[1]
    left, right = random(rows, 5, branches * 4), random(rows, 5, branches * 4, seed=1)
    weight = torch.softmax(random(5, branches, seed=2), dim=1) if branches > 1 else None
    whole = grid_multiply(left, right, tables.multiply.to_grid, tables.multiply.from_grid, weight)
    scalar = grid_multiply_scalar(left, right, tables.coupling, weight)
    torch.testing.assert_close(scalar, whole[0], rtol=0, atol=1e-12)


def test_product_is_pointwise_on_the_grid(tables: GridTables) -> None:
    rows = tables.multiply.to_grid.shape[1]
    left, right = random(rows, 2, 3), random(rows, 2, 3, seed=1)
    to_grid, from_grid = tables.multiply.to_grid, tables.multiply.from_grid
    product = grid_multiply(left, right, to_grid, from_grid, None)
    for node in range(2):
        for channel in range(3):
            field = (to_grid @ left[:, node, channel]) * (to_grid @ right[:, node, channel])
            torch.testing.assert_close(product[:, node, channel], from_grid @ field)


def test_branches_are_a_weighted_sum(tables: GridTables) -> None:
    rows = tables.multiply.to_grid.shape[1]
    left, right = random(rows, 4, 6), random(rows, 4, 6, seed=1)
    weight = torch.softmax(random(4, 2, seed=2), dim=1)
    grids = tables.multiply.to_grid, tables.multiply.from_grid
    whole = grid_multiply(left, right, *grids, weight)
    parts = [
        grid_multiply(left[:, :, s], right[:, :, s], *grids, None) * weight[None, :, b, None]
        for b, s in enumerate((slice(0, 3), slice(3, 6)))
    ]
    torch.testing.assert_close(whole, parts[0] + parts[1])
