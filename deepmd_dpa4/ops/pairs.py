"""Maps between nodes and edges: the ends of an edge, and the sums over edges that differentiation turns them into."""

import torch
from torch import Tensor

from deepmd_dpa4.ops.operation import OnCpu, Operation
from deepmd_dpa4.ops.segment import segment_sum


class Pairs(Operation):
    r"""Sums and products over the two ends of each edge.

    - :meth:`sum_of_ends`: :math:`y_e = x_i + x_j`, node features (M, K) to (E, K).
    - :meth:`products`: :math:`y_{eb} = \langle q_{ib}, k_{jb} \rangle`, queries (N, B, w) and keys (M, B, w) to (E, B).
    - :meth:`scatter`: :math:`x_k = \sum_{i(e)=k} y_e + s \sum_{j(e)=k} y_e`, edge values (E, K) to (n_nodes, K).
    """

    def sum_of_ends(self, node: Tensor, receiver: Tensor, sender: Tensor) -> Tensor:
        """Add the features of both ends."""
        return sum_of_ends(node, receiver, sender)

    def products(self, query: Tensor, key: Tensor, receiver: Tensor, sender: Tensor) -> Tensor:
        """Multiply queries of receivers with keys of senders."""
        return products(query, key, receiver, sender)

    def scatter(self, edge: Tensor, receiver: Tensor, sender: Tensor, n_nodes: int, sign: float) -> Tensor:
        """Sum edge values at both ends, with ``sign`` s at the sender."""
        return scatter(edge, receiver, sender, n_nodes, sign)


class CpuPairs(OnCpu, Pairs):
    """By the operators ``dpa4::pair_sum``, ``pair_dot`` and ``pair_scatter``."""

    def sum_of_ends(self, node: Tensor, receiver: Tensor, sender: Tensor) -> Tensor:
        if node.is_cuda:
            return sum_of_ends(node, receiver, sender)
        return torch.ops.dpa4.pair_sum(node, receiver, sender, 1.0)

    def products(self, query: Tensor, key: Tensor, receiver: Tensor, sender: Tensor) -> Tensor:
        if query.is_cuda:
            return products(query, key, receiver, sender)
        return torch.ops.dpa4.pair_dot(query, key, receiver, sender)

    def scatter(self, edge: Tensor, receiver: Tensor, sender: Tensor, n_nodes: int, sign: float) -> Tensor:
        if edge.is_cuda:
            return scatter(edge, receiver, sender, n_nodes, sign)
        return torch.ops.dpa4.pair_scatter(edge, receiver, sender, n_nodes, sign)


def sum_of_ends(node: Tensor, receiver: Tensor, sender: Tensor) -> Tensor:
    """Define :meth:`Pairs.sum_of_ends`."""
    return node.index_select(0, sender) + node.index_select(0, receiver)


def products(query: Tensor, key: Tensor, receiver: Tensor, sender: Tensor) -> Tensor:
    """Define :meth:`Pairs.products`."""
    return (query.index_select(0, receiver) * key.index_select(0, sender)).sum(dim=2)


def scatter(edge: Tensor, receiver: Tensor, sender: Tensor, n_nodes: int, sign: float) -> Tensor:
    """Define :meth:`Pairs.scatter`."""
    return segment_sum(edge, receiver, n_nodes) + sign * segment_sum(edge, sender, n_nodes)
