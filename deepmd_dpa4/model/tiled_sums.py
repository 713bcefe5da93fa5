"""Sums over the edges of a block in tiles, for plain kernels: their features of an edge are too large to keep.

A tile holds consecutive receivers, all their edges and the senders of these, so that it is a graph of its own. Nothing
is kept of it; the reverse direction evaluates it once more.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from deepmd_dpa4.descriptor.condition import EdgeCondition, EdgeContext
from deepmd_dpa4.descriptor.network import Network
from deepmd_dpa4.graph.edges import EdgeGeometry, Graph


class SumTile(NamedTuple):
    """The edges of some receivers."""

    context: EdgeContext
    """As the block reads it, with the nodes of the tile."""
    node: Tensor
    """Index of each node of the tile: the receivers, then all senders once."""
    leaves: list[Tensor]
    """What depends on the edge vectors: weight, rotation and radial features of the edges, and their gate if any."""


def leaf(values: Tensor, start: int, stop: int) -> Tensor:
    """Rows of a tensor free of history, to be differentiated by."""
    return values.detach()[start:stop].requires_grad_(True)


class TiledSumMethods:
    """Part of the sweep of a potential; see :class:`deepmd_dpa4.model.sweep.SweepMethods`."""

    if TYPE_CHECKING:
        descriptor: Network

    def sum_tile(self, context: EdgeContext, nodes: list[int], edges: list[int], tile: int) -> SumTile:
        """Receivers ``nodes[tile]`` to ``nodes[tile + 1]`` and their edges."""
        graph, condition = context.graph, context.condition
        first, count = nodes[tile], nodes[tile + 1] - nodes[tile]
        start, stop = edges[tile], edges[tile + 1]
        senders, position = torch.unique(graph.sender[start:stop], sorted=True, return_inverse=True)
        node = torch.cat([torch.arange(first, first + count, device=senders.device), senders])
        part = Graph(
            graph.node_type.index_select(0, node),
            count,
            graph.frame.index_select(0, node),
            position + count,
            graph.receiver[start:stop] - first,
            graph.vector[start:stop],
            None,
        )
        weight, compact = leaf(context.geometry.weight, start, stop), leaf(context.geometry.compact, start, stop)
        hidden = leaf(condition.hidden, start, stop)
        none = weight.detach()[:0]
        rotation = self.descriptor.edge_features.dense_rows(compact)
        geometry = EdgeGeometry(none, weight, none, none, compact, rotation, None)
        radial_weight: Tensor | None = None if condition.weight is None else weight
        types = condition.type_feature.index_select(0, node)
        read = EdgeCondition(hidden, condition.output_matrix, radial_weight, types)
        source_gate = context.source_gate
        leaves = [weight, compact, hidden]
        gate: Tensor | None = None
        if source_gate is not None:
            gate = leaf(source_gate, start, stop)
            leaves.append(gate)
        return SumTile(EdgeContext(part, geometry, read, context.normalizer, gate), node, leaves)

    def tiled_sum(
        self, index: int, senders: Tensor, context: EdgeContext, nodes: list[int], edges: list[int]
    ) -> Tensor:
        """Sums over the edges of each receiver (N, D, Cw) of block ``index``, without history.

        ``senders`` are the widened features of all nodes, (M, D, Cw).
        """
        sums: list[Tensor] = []
        with torch.no_grad():
            for tile in range(len(nodes) - 1):
                part = self.sum_tile(context, nodes, edges, tile)
                features = senders.index_select(0, part.node)
                sums.append(self.descriptor.sum_block(index, features, part.context))
        return torch.cat(sums)

    def pull_back_sum(
        self,
        index: int,
        senders: Tensor,
        context: EdgeContext,
        nodes: list[int],
        edges: list[int],
        gradient: Tensor,
    ) -> list[Tensor]:
        """Gradients by ``senders`` and by the leaves of all edges, from the ``gradient`` by the sums."""
        by_senders = torch.zeros_like(senders)
        by_leaves: list[Tensor] = []
        for tile in range(len(nodes) - 1):
            part = self.sum_tile(context, nodes, edges, tile)
            features = senders.detach().index_select(0, part.node).requires_grad_(True)
            summed = self.descriptor.sum_block(index, features, part.context)
            targets = [features] + part.leaves
            seed: list[Tensor | None] = [gradient[nodes[tile] : nodes[tile + 1]]]
            found = torch.autograd.grad([summed], targets, seed, allow_unused=True)
            of_features = found[0]
            if of_features is not None:
                by_senders.index_add_(0, part.node, of_features)
            for position in range(len(part.leaves)):
                if tile == 0:
                    like = part.leaves[position]
                    by_leaves.append(like.new_zeros([edges[-1]] + list(like.shape[1:])))
                of_leaf = found[position + 1]
                if of_leaf is not None:
                    by_leaves[position][edges[tile] : edges[tile + 1]] = of_leaf
        return [by_senders] + by_leaves
