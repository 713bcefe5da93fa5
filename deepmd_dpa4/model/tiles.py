"""Energies and edge gradient of large systems in tiles, so that memory does not grow with what a tile needs.

The driver runs the stages of :mod:`deepmd_dpa4.descriptor.stages` in groups that are divided alike. What acts on each
edge or each node alone runs tile by tile without history, and once more in the reverse direction. A group that cannot
be divided runs at once, with its history. Sums over the edges of a block read other nodes. Where one operation forms
the messages it keeps little of an edge, and they run at once; plain torch would keep all features of an edge, 50 kB,
so its sums run in tiles of receivers, their edges and the senders of these. The results are those of the direct
evaluation up to rounding.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from deepmd_dpa4.descriptor.network import Network
from deepmd_dpa4.descriptor.stages import Stage, axes_of, note_moving, reads_of, results_of
from deepmd_dpa4.graph.graph import Ends, Graph

# Edges and nodes of one tile; systems with more edges than one tile are evaluated in tiles.
TILE_EDGES, TILE_NODES = 32768, 1024


class Tiles(NamedTuple):
    """Tiles of consecutive receivers and their edges."""

    nodes: list[int]
    """Bounds of the receivers."""
    edges: list[int]
    """Bounds of the edges."""


class Tile(NamedTuple):
    """One tile."""

    graph: Graph
    """Graph of its nodes and edges."""
    node: Tensor
    """Index of each node of that graph in the whole one; its receivers come first."""
    nodes: tuple[int, int]
    """First receiver and the one after the last."""
    edges: tuple[int, int]
    """First edge and the one after the last."""


class Done(NamedTuple):
    """A group of stages that has run forward."""

    group: list[Stage]
    """The stages."""
    over: str
    """How they were divided."""
    given: dict[str, Tensor]
    """What they read, without history."""
    by: list[str]
    """Which of it depends on the edge vectors."""
    made: dict[str, Tensor]
    """What they made, with its history from ``given``; empty if they were divided."""


def tile_bounds(graph: Graph, tile_edges: int, tile_nodes: int) -> Tiles:
    """Divide the receivers into tiles of about ``tile_edges`` edges and at most ``tile_nodes`` nodes."""
    receiver = graph.ends.receiver
    edges, owned = receiver.shape[0], graph.ends.n_receivers
    count = max(1, (edges + tile_edges - 1) // tile_edges)
    count = max(1, min(max(count, (owned + tile_nodes - 1) // tile_nodes), owned))
    nodes = [owned * tile // count for tile in range(count + 1)]
    bounds: list[int] = torch.searchsorted(receiver, torch.tensor(nodes, device=receiver.device)).tolist()
    return Tiles(nodes, bounds)


def division_of(stage: Stage, sum_tiles: Tiles) -> str:
    """Tell how a stage is divided; sums without tiles run at once."""
    return "whole" if stage.over == "sums" and len(sum_tiles.nodes) == 0 else stage.over


def tile_of(graph: Graph, tiles: Tiles, index: int, over: str) -> Tile:
    """Cut one tile out of a graph.

    After the receivers come all nodes for ``edges``, the senders of the edges for ``sums``, and none for ``nodes``,
    whose stages read no edge.
    """
    first, last, start, stop = tiles.nodes[index], tiles.nodes[index + 1], tiles.edges[index], tiles.edges[index + 1]
    if over == "nodes":
        stop = start
    count, device = last - first, graph.node_type.device
    sender, receiver = graph.ends.sender[start:stop], graph.ends.receiver[start:stop]
    node = torch.arange(first, last, device=device)
    if over == "edges":
        node = torch.cat([node, torch.arange(graph.node_type.shape[0], device=device)])
    elif over == "sums":
        senders, sender = torch.unique(sender, sorted=True, return_inverse=True)
        node = torch.cat([node, senders])
    ends = Ends(sender + count, receiver - first, count)
    types, frame = graph.node_type.index_select(0, node), graph.frame.index_select(0, node)
    part = Graph(types, frame, ends, graph.vector[start:stop], None)
    return Tile(part, node, (first, last), (start, stop))


def cut(value: Tensor, axes: str, tile: Tile) -> Tensor:
    """Take the part of a named tensor that belongs to a tile."""
    if "m" in axes:
        return value.index_select(axes.find("m"), tile.node)
    axis = max(axes.find("n"), axes.find("e"))
    if axis < 0:
        return value
    first, last = tile.edges if "e" in axes else tile.nodes
    return value.narrow(axis, first, last - first)


def write(whole: Tensor, part: Tensor, axes: str, tile: Tile) -> None:
    """Put the part of a tile into a named tensor; parts at nodes that tiles share are added."""
    if "m" in axes:
        whole.index_add_(axes.find("m"), tile.node, part)
    else:
        cut(whole, axes, tile).copy_(part)


def whole_like(part: Tensor, axes: str, graph: Graph) -> Tensor:
    """Make the named tensor, of zeros, that a part belongs to."""
    shape: list[int] = []
    for axis in range(len(axes)):
        size = part.shape[axis]
        if axes[axis] == "e":
            size = graph.ends.receiver.shape[0]
        elif axes[axis] == "n":
            size = graph.ends.n_receivers
        elif axes[axis] == "m":
            size = graph.node_type.shape[0]
        shape.append(size)
    return part.new_zeros(shape)


def or_zeros(gradient: Tensor | None, like: Tensor) -> Tensor:
    """Put zeros where there is no gradient."""
    return torch.zeros_like(like) if gradient is None else gradient


class TiledMethods:
    """The tiled driver of a potential; see :class:`deepmd_dpa4.model.potential.PotentialMethods`."""

    # TorchScript reads the annotations of a class, so these exist for the type checker alone.
    if TYPE_CHECKING:
        descriptor: Network

        def stages(self, vector: Tensor, shared_rotation: bool) -> list[Stage]: ...
        def run_stage(self, stage: Stage, graph: Graph, values: dict[str, Tensor]) -> dict[str, Tensor]: ...

    def run_tiled(
        self,
        graph: Graph,
        values: dict[str, Tensor],
        tile_edges: int = TILE_EDGES,
        tile_nodes: int = TILE_NODES,
        hidden: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Evaluate the energies of the owned atoms, (N,), and the gradient of their sum by the edge vectors, (E, 3).

        The third result are the last hidden features, (N, W), if they are asked for.

        Parameters
        ----------
        graph : Graph
            Nodes and edges.
        values : dict[str, Tensor]
            What the first stages read.
        tile_edges, tile_nodes : int
            Most edges (about) and nodes of a tile.
        hidden : bool
            Return the last hidden features.
        """
        wanted = ["energy", "last_hidden"] if hidden else ["energy"]
        tiles, sum_tiles = tile_bounds(graph, tile_edges, tile_nodes), self.sum_tiles(graph, tile_edges, tile_nodes)
        stages = self.stages(graph.vector, len(sum_tiles.nodes) == 0)
        values["vector"] = graph.vector.detach()
        moving = {"vector": True}
        done: list[Done] = []
        start = 0
        while start < len(stages):
            over, stop = division_of(stages[start], sum_tiles), start + 1
            while stop < len(stages) and division_of(stages[stop], sum_tiles) == over:
                stop += 1
            group = stages[start:stop]
            results = results_of(group, stages[stop:], wanted)
            step = self.run_group(group, over, results, graph, values, moving, sum_tiles if over == "sums" else tiles)
            done.append(step)
            start = stop
        energy, last_hidden = values["energy"], values.get("last_hidden")
        values.clear()
        gradients = {"energy": torch.ones_like(energy)}
        while len(done) > 0:
            step = done.pop()
            self.pull_back_group(step, graph, gradients, sum_tiles if step.over == "sums" else tiles)
        return energy, gradients["vector"], last_hidden

    def sum_tiles(self, graph: Graph, tile_edges: int, tile_nodes: int) -> Tiles:
        """Divide the sums over edges; no bounds if they run at once.

        Plain torch keeps all features of an edge: its tiles are smaller, and larger on a GPU, where memory is for
        what keeps it busy.
        """
        none: list[int] = []
        if all(self.descriptor.served(graph.vector)):
            return Tiles(none, none)
        tile_edges = (tile_edges + 3) // 4 if graph.vector.device.type == "cpu" else 4 * tile_edges
        if graph.ends.receiver.shape[0] <= tile_edges:
            return Tiles(none, none)
        return tile_bounds(graph, tile_edges, tile_nodes)

    def run_group(
        self,
        group: list[Stage],
        over: str,
        results: list[str],
        graph: Graph,
        values: dict[str, Tensor],
        moving: dict[str, bool],
        tiles: Tiles,
    ) -> Done:
        """Run a group of stages forward, and note which of its results depend on the edge vectors."""
        given: dict[str, Tensor] = {}
        by: list[str] = []
        for name in reads_of(group):
            if name in values:
                given[name] = values[name].detach()
                if name in moving:
                    by.append(name)
        made: dict[str, Tensor] = {}
        if over == "whole":
            for name in by:
                given[name].requires_grad_(True)
            made = self.run_all(group, graph, given)
            for name in results:
                if name in made:
                    values[name] = made[name].detach()
        else:
            values.update(self.run_in_tiles(group, over, results, graph, given, tiles))
        note_moving(group, moving)
        return Done(group, over, given, by, made)

    def run_all(self, group: list[Stage], graph: Graph, given: dict[str, Tensor]) -> dict[str, Tensor]:
        """Run a group of stages one after the other, and return all that they make."""
        values = given.copy()
        made: dict[str, Tensor] = {}
        for stage in group:
            found = self.run_stage(stage, graph, values)
            values.update(found)
            made.update(found)
        return made

    def run_in_tiles(
        self, group: list[Stage], over: str, results: list[str], graph: Graph, given: dict[str, Tensor], tiles: Tiles
    ) -> dict[str, Tensor]:
        """Run a group of stages tile by tile, without history."""
        axes = axes_of()
        made: dict[str, Tensor] = {}
        with torch.no_grad():
            for index in range(len(tiles.nodes) - 1):
                tile = tile_of(graph, tiles, index, over)
                parts = self.run_all(group, tile.graph, self.cut_all(given, tile))
                for name in results:
                    if name in parts:
                        if name not in made:
                            made[name] = whole_like(parts[name], axes[name], graph)
                        write(made[name], parts[name], axes[name], tile)
        return made

    def cut_all(self, given: dict[str, Tensor], tile: Tile) -> dict[str, Tensor]:
        """Take the parts of all tensors that belong to a tile."""
        axes = axes_of()
        parts: dict[str, Tensor] = {}
        for name in given:
            parts[name] = cut(given[name], axes[name], tile).detach()
        return parts

    def pull_back_group(self, step: Done, graph: Graph, gradients: dict[str, Tensor], tiles: Tiles) -> None:
        """Turn the gradients by the results of a group into gradients by what it read."""
        seeds: dict[str, Tensor] = {}
        for stage in step.group:
            for name in stage.writes:
                if name in gradients:
                    seeds[name] = gradients.pop(name)
        # the first state may not depend on the edges; then nothing goes back through the first halo exchange, as in
        # the direct evaluation, which another rank may run
        if len(step.by) == 0 or len(seeds) == 0:
            return
        if step.over == "whole":
            found = self.pull_back(step.made, step.given, step.by, seeds)
        else:
            found = self.pull_back_in_tiles(step, graph, seeds, tiles)
        axes = axes_of()
        for name in step.by:
            if name not in gradients:
                gradients[name] = found[name]
            elif "e" in axes[name]:
                # the largest tensors there are
                gradients[name].add_(found[name])
            else:
                gradients[name] = gradients[name] + found[name]

    def pull_back(
        self, made: dict[str, Tensor], given: dict[str, Tensor], by: list[str], seeds: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Differentiate through the history of a group."""
        outputs: list[Tensor] = []
        directions: list[Tensor | None] = []
        for name in seeds:
            if made[name].requires_grad:
                outputs.append(made[name])
                directions.append(seeds[name])
        found: dict[str, Tensor] = {}
        if len(outputs) == 0:
            for name in by:
                found[name] = torch.zeros_like(given[name])
            return found
        gradients = torch.autograd.grad(outputs, [given[name] for name in by], directions, allow_unused=True)
        for index in range(len(by)):
            found[by[index]] = or_zeros(gradients[index], given[by[index]])
        return found

    def pull_back_in_tiles(self, step: Done, graph: Graph, seeds: dict[str, Tensor], tiles: Tiles) -> dict[str, Tensor]:
        """Differentiate a group tile by tile, which runs it once more."""
        axes = axes_of()
        found: dict[str, Tensor] = {}
        for index in range(len(tiles.nodes) - 1):
            tile = tile_of(graph, tiles, index, step.over)
            given = self.cut_all(step.given, tile)
            for name in step.by:
                given[name].requires_grad_(True)
            parts = self.pull_back(
                self.run_all(step.group, tile.graph, given), given, step.by, self.cut_all(seeds, tile)
            )
            for name in step.by:
                if name not in found:
                    found[name] = whole_like(parts[name], axes[name], graph)
                write(found[name], parts[name], axes[name], tile)
        return found
