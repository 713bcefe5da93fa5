"""Node-wise feed-forward network (theory 5.3)."""

import math

from torch import Tensor, nn

from deepmd_dpa4.nn.gate import NodeGate
from deepmd_dpa4.nn.grid_product import GridTables, SelfGridNet
from deepmd_dpa4.nn.initial import Initializer
from deepmd_dpa4.nn.linear import SO3Linear


def automatic_width(channels: int, gated: bool) -> int:
    """Compute the hidden width 32 ceil(w / 32) with w = 8 C / 3 for a gated unit, else 4 C."""
    target = 8 * channels / 3 if gated else 4 * channels
    return 32 * math.ceil(target / 32)


class FeedForward(nn.Module):
    """SO(3) linear map, gated activation, SO(3) linear map: (D, N, C) -> (D, N, C).

    ``gated`` makes the first map produce (value, gate) and applies the GLU form.
    """

    def __init__(
        self, lmax: int, channels: int, hidden: int, gated: bool, activation: str, bias: bool, init: Initializer
    ) -> None:
        super().__init__()
        self.gated, self.hidden = gated, hidden
        self.so3_linear_1 = SO3Linear(lmax, channels, 2 * hidden if gated else hidden, bias, init)
        self.act = NodeGate(lmax, hidden, activation, bias, init)
        self.so3_linear_2 = SO3Linear(lmax, hidden, channels, bias, init, zero=True)

    def forward(self, x: Tensor) -> Tensor:
        h = self.so3_linear_1(x)
        if self.gated:
            h = self.act(h[:, :, : self.hidden], h[:, :, self.hidden :])
        else:
            h = self.act(h, None)
        return self.so3_linear_2(h)

    def scalar_row(self, x: Tensor) -> Tensor:
        """Compute row (0, 0) of the result, (N, C)."""
        return self.forward(x)[0]


class GridFeedForward(nn.Module):
    """The same with a grid product as nonlinearity; ``kmax`` None = S2 grid, else SO(3) grid."""

    def __init__(
        self,
        lmax: int,
        kmax: int | None,
        channels: int,
        hidden: int,
        kind: str,
        branches: int,
        lebedev: bool,
        bias: bool,
        init: Initializer,
    ) -> None:
        super().__init__()
        tables = GridTables(lmax, kmax, lebedev, init.dtype)
        wide = tables.n_frames * hidden
        self.so3_linear_1 = SO3Linear(lmax, channels, 2 * wide, bias, init)
        self.act = SelfGridNet(kind, hidden, branches, tables, bias, init)
        self.so3_linear_2 = SO3Linear(lmax, wide, channels, bias, init, zero=True)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.so3_linear_1, self.so3_linear_2
        return self.act(x, first.matrices(), first.bias, second.matrices(), second.bias)

    def scalar_row(self, x: Tensor) -> Tensor:
        """Compute row (0, 0) of the result, (N, C)."""
        first, second = self.so3_linear_1, self.so3_linear_2
        return self.act.scalar_row(x, first.matrices(), first.bias, second.matrices(), second.bias)
