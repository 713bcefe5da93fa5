"""Sums over edges of outer products."""

import torch
from torch import Tensor

from deepmd_dpa4.ops.operation import OnCpu, Operation
from deepmd_dpa4.ops.segment import segment_sum


class OuterSum(Operation):
    r""":math:`S_i = \sum_{e \to i} a_e \otimes b_e` of rows a (E, P) and b (E, Q): (n_receivers, P, Q)."""

    def forward(self, a: Tensor, b: Tensor, receiver: Tensor, n_receivers: int) -> Tensor:
        return outer_sum(a, b, receiver, n_receivers)


class CpuOuterSum(OnCpu, OuterSum):
    """By ``dpa4::outer_sum``, which forms no outer product; edges are sorted by receiver."""

    def forward(self, a: Tensor, b: Tensor, receiver: Tensor, n_receivers: int) -> Tensor:
        if a.is_cuda:
            return outer_sum(a, b, receiver, n_receivers)
        return torch.ops.dpa4.outer_sum(a, b, receiver, n_receivers)


def outer_sum(a: Tensor, b: Tensor, receiver: Tensor, n_receivers: int) -> Tensor:
    """Define :class:`OuterSum`."""
    return segment_sum(a.unsqueeze(2) * b.unsqueeze(1), receiver, n_receivers)
