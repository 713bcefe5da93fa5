"""Sums over the edges of each receiver."""

import torch
from torch import Tensor


def segment_sum(values: Tensor, receiver: Tensor, n_receivers: int) -> Tensor:
    """Sum the rows of ``values`` (E, ...) over the edges of each receiver: (n_receivers, ...)."""
    shape = [n_receivers] + list(values.shape[1:])
    return torch.zeros(shape, dtype=values.dtype, device=values.device).index_add(0, receiver, values)
