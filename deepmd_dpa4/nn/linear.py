"""Linear maps on scalars and on node features."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepmd_dpa4.nn.initial import Initializer
from deepmd_dpa4.nn.low_rank import draw_factors, updated
from deepmd_dpa4.ops.matrix_product import Product
from deepmd_dpa4.so3.layout import packed_degrees


def pad_scalars(row: Tensor, rows: int) -> Tensor:
    """Make features (rows, N, C) that are ``row`` (N, C) at (0, 0), which comes first, and vanish elsewhere."""
    return functional.pad(row.unsqueeze(0), [0, 0, 0, 0, 0, rows - 1])


class MatrixLinear(nn.Module):
    """y = x W (+ b) on the last axis; ``matrix`` is (in, out)."""

    def __init__(self, width_in: int, width_out: int, bias: bool, init: Initializer) -> None:
        super().__init__()
        self.matrix = init.matrix(width_in, width_out)
        self.bias: nn.Parameter | None = init.normal([width_out], 1.0) if bias else None
        self.product = Product()

    def forward(self, x: Tensor) -> Tensor:
        y = self.product(x, self.matrix)
        if self.bias is not None:
            y = y + self.bias
        return y


class WeightLinear(nn.Module):
    """y = x W (+ b) on the last axis; ``weight`` is (in, out), initially uniform within 1/sqrt(in)."""

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter | None = None) -> None:
        super().__init__()
        self.weight = weight
        self.bias = bias
        self.product = Product()

    def forward(self, x: Tensor) -> Tensor:
        y = self.product(x, self.weight)
        if self.bias is not None:
            y = y + self.bias
        return y


class SO3Linear(nn.Module):
    """One matrix per degree, shared by all m: (D, N, C_in) -> (D, N, C_out).

    ``weight`` is (L + 1, C_in, C_out); the optional bias acts on (0, 0). :meth:`adapt` adds a low-rank update to the
    weight, whose factors are ``A_by_l`` and ``B_by_l``. Source: theory 5.3.
    """

    expand_index: Tensor

    def __init__(
        self, lmax: int, width_in: int, width_out: int, bias: bool, init: Initializer, zero: bool = False
    ) -> None:
        super().__init__()
        shape = [lmax + 1, width_in, width_out]
        self.weight = init.constant(shape, 0.0) if zero else init.truncated(shape, width_in, width_out)
        self.bias: nn.Parameter | None = init.constant([width_out], 0.0) if bias else None
        self.register_buffer("expand_index", torch.tensor(packed_degrees(lmax)))
        for name in ("A_by_l", "B_by_l"):
            self.register_parameter(name, None)
        self.register_buffer("lora_scaling", None)
        self.product = Product()

    def adapt(self, rank: int, scaling: float, init: Initializer) -> None:
        """Freeze the weight and add a trainable update of low rank."""
        self.weight.requires_grad = False
        self.A_by_l, self.B_by_l = draw_factors(self.weight, rank, init)
        self.lora_scaling = self.weight.new_tensor(scaling)

    def matrices(self) -> Tensor:
        """Return the weight in use."""
        if self.lora_scaling is not None:
            return self.updated_weight()
        return self.weight

    @torch.jit.unused
    def updated_weight(self) -> Tensor:
        """Return the frozen weight with its update."""
        return updated(self.weight, self.A_by_l, self.B_by_l, self.lora_scaling)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.matrices().index_select(0, self.expand_index)
        if self.bias is None:
            return self.product(x, weight)
        return torch.baddbmm(pad_scalars(self.bias.unsqueeze(0), x.shape[0]), x, weight)
