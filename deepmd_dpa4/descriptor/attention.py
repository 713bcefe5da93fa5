"""Envelope-gated attention of a receiver over its edges (theory 4.8).

The weights live under the keys of the convolution, so this file holds functions of them.
"""

import math

import torch
from torch import Tensor, nn

from deepmd_dpa4.ops.pairs import Pairs


def stream_linear(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply each stream by its matrix: x (n, F, in), weight (in, F * out) viewed (in, stream, out); (n, F, out)."""
    streams = x.shape[1]
    if streams == 1:
        return x @ weight
    return torch.einsum("nfi,ifo->nfo", x, weight.view(x.shape[2], streams, -1))


class HeadScores(nn.Module):
    """Scaled products of queries (N, F, C) and keys (M, F, C) along the edges: (E, F, heads)."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.pairs = Pairs()

    def forward(self, query: Tensor, key: Tensor, receiver: Tensor, sender: Tensor) -> Tensor:
        streams, width = query.shape[1], query.shape[2] // self.heads
        shape = [-1, streams * self.heads, width]
        product = self.pairs.products(query.reshape(shape), key.reshape(shape), receiver, sender)
        return product.view(-1, streams, self.heads) / math.sqrt(width)
