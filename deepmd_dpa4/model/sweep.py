"""Energies and edge gradient of large systems in tiles, so that memory does not grow with what a tile needs.

Stages whose intermediate results are large act on each edge or on each node alone: the radial features and first
sums, the second half of every block, read-out and fitting. They run tile by tile without history, and once more in the
reverse direction. Only the sums over edges of the blocks see all nodes. Native kernels keep a short history of each
edge for them; plain ones go through tiles of their own, see :mod:`deepmd_dpa4.model.tiled_sums`. With zone bridging the
gates of all edges, which connect tiles, come first. The results are those of the direct evaluation up to rounding.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deepmd_dpa4.descriptor.condition import EdgeState
from deepmd_dpa4.descriptor.network import Network
from deepmd_dpa4.graph.edges import EdgeGeometry, Graph
from deepmd_dpa4.model.tiled_sums import TiledSumMethods

# Edges and nodes of one tile; systems with more edges than one tile are swept.
TILE_EDGES, TILE_NODES = 32768, 1024


def tile_bounds(graph: Graph, tile_edges: int, tile_nodes: int) -> tuple[list[int], list[int]]:
    """Bounds of tiles of consecutive receivers, and of their edges."""
    edges, owned = graph.receiver.shape[0], graph.n_owned
    count = max(1, (edges + tile_edges - 1) // tile_edges)
    count = max(1, min(max(count, (owned + tile_nodes - 1) // tile_nodes), owned))
    nodes = [owned * tile // count for tile in range(count + 1)]
    bounds = torch.searchsorted(graph.receiver, torch.tensor(nodes, device=graph.receiver.device))
    edge_bounds: list[int] = bounds.tolist()
    return nodes, edge_bounds


def tile_of(graph: Graph, nodes: list[int], edges: list[int], tile: int) -> Graph:
    """Graph of the receivers of one tile and their edges, whose vectors are a leaf; all nodes follow as senders."""
    first, last, start, stop = nodes[tile], nodes[tile + 1], edges[tile], edges[tile + 1]
    node_type = torch.cat([graph.node_type[first:last], graph.node_type])
    frame = torch.cat([graph.frame[first:last], graph.frame])
    sender, receiver = graph.sender[start:stop] + (last - first), graph.receiver[start:stop] - first
    vector = graph.vector.detach()[start:stop].requires_grad_(True)
    return Graph(node_type, last - first, frame, sender, receiver, vector, None)


def leaves_of(state: EdgeState) -> list[Tensor]:
    """What depends on the edge vectors: of edges, then of nodes; empty where the network has no such part."""
    none = state.degree.new_zeros([0])
    environment, moments = state.environment, state.moments
    return [
        state.geometry.weight,
        state.geometry.compact,
        state.hidden,
        state.degree,
        none if environment is None else environment,
        none if moments is None else moments,
    ]


def fit_rows(gradient: Tensor, rows: int) -> Tensor:
    """Gradient (D', N, C) of the leading rows as a gradient of all ``rows``."""
    missing = rows - gradient.shape[0]
    if missing == 0:
        return gradient
    return torch.cat([gradient, gradient.new_zeros([missing, gradient.shape[1], gradient.shape[2]])])


class SweepMethods(TiledSumMethods):
    """The sweep of a potential; see :class:`deepmd_dpa4.model.potential.PotentialMethods`."""

    if TYPE_CHECKING:
        descriptor: Network

        def energies(
            self, features: Tensor, node_type: Tensor, fparam: Tensor | None, aparam: Tensor | None
        ) -> tuple[Tensor, Tensor]: ...

    def sweep(
        self,
        graph: Graph,
        fparam: Tensor | None,
        aparam: Tensor | None,
        charge_spin: Tensor | None,
        tile_edges: int = TILE_EDGES,
        tile_nodes: int = TILE_NODES,
    ) -> tuple[Tensor, Tensor]:
        """Energies of the owned atoms, (N,), and the gradient of their sum by the edge vectors, (E, 3).

        Parameters
        ----------
        graph : Graph
            Nodes and edges.
        fparam, aparam : Tensor, optional
            Conditions of each owned atom, (N, .).
        charge_spin : Tensor, optional
            Charge and spin multiplicity of each frame.
        tile_edges, tile_nodes : int
            Most edges (about) and nodes of a tile.
        """
        nodes, edges = tile_bounds(graph, tile_edges, tile_nodes)
        by_gate = graph.vector.detach().requires_grad_(True)
        gate = self.descriptor.sender_gate(with_vector(graph, by_gate))
        leaves = self.sweep_edges(graph, nodes, edges, gate)
        of_edges = leaves[:3]
        gate_leaf: Tensor | None = None
        if gate is not None:
            gate_leaf = gate.detach().requires_grad_(True)
            of_edges.append(gate_leaf)
        environment: Tensor | None = leaves[4] if leaves[4].numel() > 0 else None
        moments: Tensor | None = leaves[5] if leaves[5].numel() > 0 else None
        sum_nodes, sum_edges = self.sum_bounds(graph, tile_edges, tile_nodes)
        # tiles turn their own edges
        rotation = leaves[1].detach()[:0] if len(sum_nodes) > 0 else self.descriptor.edge_features.dense_rows(leaves[1])
        geometry = geometry_of(leaves, rotation)
        state = EdgeState(geometry, leaves[2], gate_leaf, leaves[3], environment, moments)
        context, first = self.descriptor.node_state(state, graph, self.descriptor.type_features(graph, charge_spin))
        inputs: list[Tensor] = []
        wides: list[Tensor] = []
        spread: list[Tensor] = []
        sums: list[Tensor] = []
        x = first
        for index in range(len(self.descriptor.block_sizes)):
            inputs.append(x.detach()[: self.descriptor.block_sizes[index]].requires_grad_(True))
            wide, senders = self.descriptor.widen_block(index, inputs[-1], context)
            if len(sum_nodes) > 0:
                summed = self.tiled_sum(index, senders, context, sum_nodes, sum_edges)
            else:
                summed = self.descriptor.sum_block(index, senders, context)
            wides.append(wide)
            spread.append(senders)
            sums.append(summed)
            x = self.sweep_block(index, inputs[-1], wide, summed, context.normalizer, nodes)
        energy, gradient = self.sweep_energies(x, graph, nodes, fparam, aparam)
        pulled = [x.new_zeros([0]) for _ in of_edges]
        of_normalizer = torch.zeros_like(context.normalizer)
        for step in range(len(inputs)):
            index = len(inputs) - 1 - step
            parts = self.pull_back_block(
                index, inputs[index], wides[index], sums[index], context.normalizer, gradient, nodes
            )
            of_normalizer += parts[3]
            by_input: Tensor | None = None
            # the first state depends on the edges through the environment alone; where it does not, nothing goes back
            # through the first exchange with other ranks, as in the direct evaluation, which another rank may run
            by_edges = index > 0 or environment is not None
            if len(sum_nodes) > 0:
                found = self.pull_back_sum(index, spread[index], context, sum_nodes, sum_edges, parts[2])
                of_leaves = found[1:]
                if by_edges:
                    seeds: list[Tensor | None] = [parts[1], found[0]]
                    by_input = torch.autograd.grad([wides[index], spread[index]], [inputs[index]], seeds)[0]
            else:
                whole_seeds: list[Tensor | None] = [parts[1], parts[2]]
                targets = of_edges + [inputs[index]] if by_edges else of_edges
                # blocks share what lies between the leaves and them; the rest goes when the lists let go of it
                by_all = torch.autograd.grad(
                    [wides[index], sums[index]], targets, whole_seeds, retain_graph=True, allow_unused=True
                )
                if by_edges:
                    by_input = by_all[len(of_edges)]
                of_leaves = [or_zeros(by_all[leaf], of_edges[leaf]) for leaf in range(len(of_edges))]
            gradient = parts[0] + or_zeros(by_input, inputs[index])
            for leaf in range(len(of_edges)):
                pulled[leaf] = added(pulled[leaf], of_leaves[leaf])
            wides[index] = spread[index] = sums[index] = inputs[index] = gradient
        outputs = [context.normalizer]
        last_seeds: list[Tensor | None] = [of_normalizer]
        if environment is not None:
            outputs.append(first)
            last_seeds.append(fit_rows(gradient, first.shape[0]))
        of_nodes = torch.autograd.grad(outputs, leaves[3:], last_seeds, allow_unused=True)
        seeds_of_edges = pulled[:3] + [or_zeros(of_nodes[leaf - 3], leaves[leaf]) for leaf in range(3, len(leaves))]
        of_vectors, of_gate = self.pull_back_edges(graph, nodes, edges, seeds_of_edges, gate)
        if gate is not None:
            gate_seed: list[Tensor | None] = [pulled[3] + of_gate]
            of_vectors = of_vectors + or_zeros(torch.autograd.grad([gate], [by_gate], gate_seed)[0], by_gate)
        return energy, of_vectors

    def sum_bounds(self, graph: Graph, tile_edges: int, tile_nodes: int) -> tuple[list[int], list[int]]:
        """Bounds of the tiles of the sums over edges; empty if they are not tiled.

        Native kernels keep little of an edge, plain ones all its features: a tile of them is smaller, and larger on
        a GPU, where memory is for what keeps it busy.
        """
        none: list[int] = []
        if self.descriptor.sums_natively() and not graph.vector.is_cuda:
            return none, none
        tile_edges = 4 * tile_edges if graph.vector.is_cuda else (tile_edges + 3) // 4
        if graph.receiver.shape[0] <= tile_edges:
            return none, none
        return tile_bounds(graph, tile_edges, tile_nodes)

    def sweep_block(
        self, index: int, x: Tensor, wide: Tensor, summed: Tensor, normalizer: Tensor, nodes: list[int]
    ) -> Tensor:
        """Second half of a block without history."""
        parts: list[Tensor] = []
        with torch.no_grad():
            for tile in range(len(nodes) - 1):
                a, b = nodes[tile], nodes[tile + 1]
                parts.append(self.descriptor.update_block(index, x[:, a:b], wide[:, a:b], summed[a:b], normalizer[a:b]))
        return torch.cat(parts, dim=1)

    def pull_back_block(
        self,
        index: int,
        x: Tensor,
        wide: Tensor,
        summed: Tensor,
        normalizer: Tensor,
        gradient: Tensor,
        nodes: list[int],
    ) -> list[Tensor]:
        """Gradients by x, wide, summed and normalizer from the ``gradient`` by the result of the second half."""
        parts: list[list[Tensor]] = []
        for tile in range(len(nodes) - 1):
            a, b = nodes[tile], nodes[tile + 1]
            given = [x[:, a:b], wide[:, a:b], summed[a:b], normalizer[a:b]]
            given = [value.detach().requires_grad_(True) for value in given]
            y = self.descriptor.update_block(index, given[0], given[1], given[2], given[3])
            seed: list[Tensor | None] = [fit_rows(gradient[:, a:b], y.shape[0])]
            found = torch.autograd.grad([y], given, seed, allow_unused=True)
            parts.append([or_zeros(found[i], given[i]) for i in range(len(given))])
        return [
            torch.cat([part[0] for part in parts], dim=1),
            torch.cat([part[1] for part in parts], dim=1),
            torch.cat([part[2] for part in parts]),
            torch.cat([part[3] for part in parts]),
        ]

    def sweep_edges(self, graph: Graph, nodes: list[int], edges: list[int], gate: Tensor | None) -> list[Tensor]:
        """The leaves, see :func:`leaves_of`, of all edges and nodes."""
        whole: list[Tensor] = []
        with torch.no_grad():
            for tile in range(len(nodes) - 1):
                gate_part: Tensor | None = None if gate is None else gate[edges[tile] : edges[tile + 1]]
                parts = leaves_of(self.descriptor.edge_state(tile_of(graph, nodes, edges, tile), None, gate_part))
                for leaf in range(len(parts)):
                    bounds = edges if leaf < 3 else nodes
                    if tile == 0:
                        rows = bounds[-1] if parts[leaf].numel() > 0 or leaf < 3 else 0
                        whole.append(parts[leaf].new_empty([rows] + list(parts[leaf].shape[1:])))
                    if whole[leaf].shape[0] > 0:
                        whole[leaf][bounds[tile] : bounds[tile + 1]] = parts[leaf]
        return [leaf.requires_grad_(True) for leaf in whole]

    def sweep_energies(
        self, x: Tensor, graph: Graph, nodes: list[int], fparam: Tensor | None, aparam: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Energies (N,) from the last node features (D, N, C), and the gradient of their sum by the features."""
        energies: list[Tensor] = []
        gradients: list[Tensor] = []
        for tile in range(len(nodes) - 1):
            a, b = nodes[tile], nodes[tile + 1]
            features = x.detach()[:, a:b].requires_grad_(True)
            frame_part: Tensor | None = None if fparam is None else fparam[a:b]
            atom_part: Tensor | None = None if aparam is None else aparam[a:b]
            energy, _ = self.energies(self.descriptor.read_out(features), graph.node_type[a:b], frame_part, atom_part)
            gradients.append(or_zeros(torch.autograd.grad([energy.sum()], [features])[0], features))
            energies.append(energy.detach())
        return torch.cat(energies), torch.cat(gradients, dim=1)

    def pull_back_edges(
        self, graph: Graph, nodes: list[int], edges: list[int], gradients: list[Tensor], gate: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Gradients by the edge vectors, (E, 3), and by the gate, (E,), from those by the leaves."""
        pulled: list[Tensor] = []
        of_gate: list[Tensor] = []
        for tile in range(len(nodes) - 1):
            part = tile_of(graph, nodes, edges, tile)
            targets = [part.vector]
            gate_part: Tensor | None = None
            if gate is not None:
                gate_part = gate.detach()[edges[tile] : edges[tile + 1]].requires_grad_(True)
                targets.append(gate_part)
            outputs: list[Tensor] = []
            seeds: list[Tensor | None] = []
            leaves = leaves_of(self.descriptor.edge_state(part, None, gate_part))
            for leaf in range(len(leaves)):
                bounds = edges if leaf < 3 else nodes
                if leaves[leaf].requires_grad and gradients[leaf].shape[0] > 0:
                    outputs.append(leaves[leaf])
                    seeds.append(gradients[leaf][bounds[tile] : bounds[tile + 1]])
            if len(outputs) > 0:
                found = torch.autograd.grad(outputs, targets, seeds, allow_unused=True)
                pulled.append(or_zeros(found[0], part.vector))
                if gate_part is not None:
                    of_gate.append(or_zeros(found[1], gate_part))
            else:
                pulled.append(torch.zeros_like(part.vector))
                if gate_part is not None:
                    of_gate.append(torch.zeros_like(gate_part))
        of_vectors = torch.cat(pulled)
        return of_vectors, torch.cat(of_gate) if gate is not None else of_vectors[:0]


def with_vector(graph: Graph, vector: Tensor) -> Graph:
    """The same graph with other edge vectors."""
    return Graph(graph.node_type, graph.n_owned, graph.frame, graph.sender, graph.receiver, vector, graph.exchange)


def geometry_of(leaves: list[Tensor], rotation: Tensor) -> EdgeGeometry:
    """What the blocks read of the geometry; the rest is empty."""
    none = leaves[0].detach()[:0]
    return EdgeGeometry(none, leaves[0], none, none, leaves[1], rotation, None)


def added(total: Tensor, gradient: Tensor | None) -> Tensor:
    """Sum of gradients; an empty total stands for none."""
    if gradient is None:
        return total
    return gradient if total.shape[0] == 0 else total.add_(gradient)


def or_zeros(gradient: Tensor | None, like: Tensor) -> Tensor:
    """A gradient, or zeros where there is none."""
    return torch.zeros_like(like) if gradient is None else gradient
