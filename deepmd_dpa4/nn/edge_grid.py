"""S2 grid product as activation of edge features (specification 4.5, 5.4)."""

import numpy as np
import torch
from torch import Tensor

from deepmd_dpa4.nn.grid_product import GridNet
from deepmd_dpa4.nn.initial import Initializer
from deepmd_dpa4.nn.so2_linear import join_orders, split_orders
from deepmd_dpa4.ops.grid import grid_multiply
from deepmd_dpa4.so3.quadrature import s2_tables


class EdgeGridActivation(GridNet):
    """Product ``glu`` of the two halves of the channels, which the SO(2) layer before it makes.

    One tensor (F, E, rows * 2C) per order in, (F, E, rows * C) out, rows in edge order.
    """

    to_grid: Tensor
    from_grid: Tensor

    def __init__(
        self, lmax: int, mmax: int, channels: int, streams: int, lebedev: bool, bias: bool, init: Initializer
    ) -> None:
        super().__init__(channels, streams)
        self.add_operation("glu", True, 0, bias, init)
        self.lmax, self.mmax = lmax, mmax
        to_grid, from_grid = s2_tables(lmax, mmax, lebedev, edge_order=True, square=False)
        self._constant("to_grid", to_grid, init.dtype)
        self._constant("from_grid", from_grid, init.dtype)

    def _constant(self, name: str, values: np.ndarray, dtype: torch.dtype) -> None:
        self.register_buffer(name, torch.tensor(values, dtype=dtype), persistent=False)

    def forward(self, groups: list[Tensor]) -> list[Tensor]:
        width = self.width
        joined = join_orders(groups, 2 * width)
        edges, n_rows = joined.shape[0], joined.shape[1]
        rows = joined.transpose(0, 1).reshape(n_rows, edges * self.streams, 2 * width)
        left, right, scalars = rows[:, :, :width], rows[:, :, width:], rows[0]
        y = grid_multiply(left, right, self.to_grid, self.from_grid, None) * self.gate(scalars)
        y = torch.cat([y[:1] + self.scalar_path(scalars), y[1:]])
        joined = y.view(n_rows, edges, self.streams * width).transpose(0, 1)
        return split_orders(joined, self.lmax, self.mmax, self.streams)
