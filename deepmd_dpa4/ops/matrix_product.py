"""Products of features with weights."""

import torch
from torch import Tensor

from deepmd_dpa4.ops.operation import OnCpu, Operation


class Product(Operation):
    """Features (..., N, in) times one matrix (in, out), or (B, N, in) times one matrix each (B, in, out)."""

    def forward(self, features: Tensor, matrix: Tensor) -> Tensor:
        return features @ matrix


class CpuProduct(OnCpu, Product):
    """By ``dpa4::matrix_product``, which divides the work into the tiles of the other operators.

    A single vector (in,) is left to torch.
    """

    def forward(self, features: Tensor, matrix: Tensor) -> Tensor:
        if features.dim() == 1 or features.is_cuda:
            return features @ matrix
        return torch.ops.dpa4.matrix_product(features, matrix)
