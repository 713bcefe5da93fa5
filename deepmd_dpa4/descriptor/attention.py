"""Envelope-gated attention of a receiver over its edges (specification 4.8).

The weights live under the keys of the convolution, so this file holds functions of them.
"""

import math

import torch
from torch import Tensor


def stream_linear(x: Tensor, weight: Tensor) -> Tensor:
    """One matrix per stream: x (n, F, in), weight (in, F * out) viewed (in, stream, out); result (n, F, out)."""
    streams = x.shape[1]
    if streams == 1:
        return x @ weight
    return torch.einsum("nfi,ifo->nfo", x, weight.view(x.shape[2], streams, -1))


def head_scores(query: Tensor, key: Tensor, receiver: Tensor, sender: Tensor, heads: int) -> Tensor:
    """Scaled products of queries (N, F, C) and keys (M, F, C) along the edges: (E, F, heads)."""
    streams, width = query.shape[1], query.shape[2] // heads
    product = query.index_select(0, receiver) * key.index_select(0, sender)
    return product.view(-1, streams, heads, width).sum(dim=3) / math.sqrt(width)
