"""Products of features with weights."""

import torch
from torch import Tensor, nn


class Product(nn.Module):
    """Features (..., N, in) times one matrix (in, out), or (B, N, in) times one matrix each (B, in, out).

    By ``torch.matmul`` or, on a CPU, by a native operator that divides the work into the tiles of the other operators.
    A single vector (in,) is left to torch.
    """

    native: torch.jit.Final[bool] = False

    def forward(self, features: Tensor, matrix: Tensor) -> Tensor:
        if self.native and features.dim() > 1 and not features.is_cuda:
            return torch.ops.dpa4.matrix_product(features, matrix)
        return features @ matrix
