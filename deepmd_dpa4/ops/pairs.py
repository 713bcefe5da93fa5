"""Maps between nodes and edges: the ends of an edge, and the sums over edges that differentiation turns them into."""

import torch
from torch import Tensor, nn

from deepmd_dpa4.ops.segment import segment_sum


class Pairs(nn.Module):
    """Sums and products over the two ends of each edge, in plain torch or by native operators."""

    native: torch.jit.Final[bool] = False

    def sum_of_ends(self, node: Tensor, receiver: Tensor, sender: Tensor) -> Tensor:
        """:math:`y_e = x_i + x_j`, node features (M, K) to (E, K)."""
        if self.native and not node.is_cuda:
            return torch.ops.dpa4.pair_sum(node, receiver, sender, 1.0)
        return node.index_select(0, sender) + node.index_select(0, receiver)

    def products(self, query: Tensor, key: Tensor, receiver: Tensor, sender: Tensor) -> Tensor:
        r""":math:`y_{eb} = \langle q_{ib}, k_{jb} \rangle`, queries (N, B, w) and keys (M, B, w) to (E, B)."""
        if self.native and not query.is_cuda:
            return torch.ops.dpa4.pair_dot(query, key, receiver, sender)
        return (query.index_select(0, receiver) * key.index_select(0, sender)).sum(dim=2)

    def scatter(self, edge: Tensor, receiver: Tensor, sender: Tensor, n_nodes: int, sign: float) -> Tensor:
        r""":math:`x_k = \sum_{i(e)=k} y_e + s \sum_{j(e)=k} y_e`, edge values (E, K) to (n_nodes, K)."""
        if self.native and not edge.is_cuda:
            return torch.ops.dpa4.pair_scatter(edge, receiver, sender, n_nodes, sign)
        return segment_sum(edge, receiver, n_nodes) + sign * segment_sum(edge, sender, n_nodes)
