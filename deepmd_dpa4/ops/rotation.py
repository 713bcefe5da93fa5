"""Into the edge frames and back."""

import torch
from torch import Tensor


def rotate_in(features: Tensor, sender: Tensor, matrix: Tensor) -> Tensor:
    """Rotate the features of the senders into the edge frames: matrix (E, rows, D) times features[sender] (M, D, C)."""
    return torch.bmm(matrix, features.index_select(0, sender))


def rotate_back_sum(local: Tensor, matrix: Tensor, receiver: Tensor, n_receivers: int) -> Tensor:
    """Turn edge features (E, rows, C) back with the transpose of ``matrix`` and sum them per receiver.

    Weights of the edges are best folded into ``matrix`` (E, rows, D) beforehand. Result (n_receivers, D, C).
    """
    turned = torch.bmm(matrix.transpose(1, 2), local)
    shape = [n_receivers, turned.shape[1], turned.shape[2]]
    # sums stay in fp32 when autocast makes the products bfloat16
    total = torch.zeros(shape, dtype=matrix.dtype, device=matrix.device)
    return total.index_add(0, receiver, turned.to(matrix.dtype))
