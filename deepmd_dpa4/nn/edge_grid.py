"""S2 grid product as activation of edge features (theory 4.5, 5.4)."""

import torch
from torch import Tensor

from deepmd_dpa4.nn.grid_product import GridNet
from deepmd_dpa4.nn.initial import Initializer
from deepmd_dpa4.nn.linear import pad_scalars
from deepmd_dpa4.nn.so2_linear import join_orders, split_orders
from deepmd_dpa4.ops.field_product import FieldProduct
from deepmd_dpa4.so3.quadrature import s2_tables


class EdgeGridActivation(GridNet):
    """Product ``glu`` of the two halves of the channels, which the SO(2) layer before it makes, added to features.

    One tensor (F, E, rows * 2C) per order, and (F, E, rows * C) of the features, rows in edge order.
    """

    def __init__(
        self, lmax: int, mmax: int, channels: int, streams: int, lebedev: bool, bias: bool, init: Initializer
    ) -> None:
        super().__init__(channels, streams)
        self.add_operation("glu", True, 0, bias, init)
        self.lmax, self.mmax = lmax, mmax
        to_grid, from_grid = s2_tables(lmax, mmax, lebedev, edge_order=True, square=False)
        self.multiply = FieldProduct(to_grid, from_grid, init.dtype)

    def flat_weight(self) -> Tensor:
        """Refuse: no edge operation covers this activation, but TorchScript compiles the call."""
        raise NotImplementedError("the edge operation does not cover S2 activations")

    def forward(self, features: list[Tensor], mixed: list[Tensor]) -> list[Tensor]:
        """Add the activated ``mixed`` to ``features``."""
        return [a + b for a, b in zip(features, self.activated(mixed))]

    def activated(self, groups: list[Tensor]) -> list[Tensor]:
        """Multiply both halves on the grid."""
        width = self.width
        joined = join_orders(groups, 2 * width)
        edges, n_rows = joined.shape[0], joined.shape[1]
        halves = joined.view(edges, n_rows, self.streams, 2, width).permute(3, 1, 0, 2, 4)
        halves = halves.reshape(2, n_rows, edges * self.streams, width)
        left, right = halves[0], halves[1]
        scalars = torch.cat([left[0], right[0]], dim=1)
        product = self.multiply(left, right, None)
        y = torch.addcmul(pad_scalars(self.scalar_path(scalars), n_rows), product, self.gate(scalars))
        joined = y.view(n_rows, edges, self.streams * width).transpose(0, 1)
        return split_orders(joined, self.lmax, self.mmax, self.streams)
