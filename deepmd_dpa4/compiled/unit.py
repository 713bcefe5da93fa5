"""Stages that are compiled together, as a function of tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from torch import Tensor

from deepmd_dpa4.descriptor.stages import Stage, axes_of, note_moving, reads_of, results_of
from deepmd_dpa4.graph.graph import Ends, Graph

EAGER = "eager"
"""Unit of the stages that are not compiled."""
GRAPH_AXES = ("n", "n", "e", "e", "e-", "e", "-n-")
"""Axes of the tensors of a graph; every node is owned, because graphs with ghosts are not compiled."""


@dataclass(frozen=True)
class Unit:
    """Consecutive stages as a function of the tensors that they read, and of those of the graph.

    Attributes
    ----------
    name : str
        Of the unit.
    stages : tuple[Stage, ...]
        In their order.
    moving, fixed : tuple[str, ...]
        Tensors read that may depend on the edge vectors, and the others.
    results : tuple[str, ...]
        Tensors made that later stages read.
    """

    name: str
    stages: tuple[Stage, ...]
    moving: tuple[str, ...]
    fixed: tuple[str, ...]
    results: tuple[str, ...]

    @property
    def axes(self) -> tuple[str, ...]:
        """Axes of all arguments: ``moving``, ``fixed``, graph; letters as :func:`spec_of` takes them."""
        axes = axes_of()
        return (*(axes[name].replace("m", "n") for name in self.moving + self.fixed), *GRAPH_AXES)

    @property
    def n_moving(self) -> int:
        """Number of arguments that may depend on the edge vectors."""
        return len(self.moving)

    def arguments(self, graph: Graph, values: Mapping[str, Tensor]) -> tuple[Tensor | None, ...]:
        """Collect the arguments; None for what the network does not have."""
        ends = graph.ends
        of_graph = graph.node_type, graph.frame, ends.sender, ends.receiver, graph.vector, ends.by_sender, ends.spans
        return (*(values.get(name) for name in self.moving + self.fixed), *of_graph)

    def __call__(self, potential: Any, nodes: int, edges: int, *arguments: Tensor | None) -> tuple[Tensor | None, ...]:
        """Run the stages; ``arguments`` as :meth:`arguments` collects them."""
        read = self.moving + self.fixed
        values = {name: value for name, value in zip(read, arguments) if value is not None}
        node_type, frame, sender, receiver, vector, by_sender, spans = arguments[len(read) :]
        assert node_type is not None and frame is not None and sender is not None
        assert receiver is not None and vector is not None
        graph = Graph(node_type, frame, Ends(sender, receiver, nodes, by_sender, spans), vector, None)
        for stage in self.stages:
            values.update(potential.run_stage(stage, graph, values))
        return tuple(values.get(name) for name in self.results)


def units_of(stages: Sequence[Stage]) -> list[Unit]:
    """Divide the stages of a potential into units, block by block."""
    units, moving, start = [], {"vector": True}, 0
    for (name, _), members in groupby(stages, key=lambda stage: (stage.unit, stage.block)):
        group = list(members)
        start += len(group)
        read = reads_of(group)
        moved = tuple(read_name for read_name in read if read_name in moving)
        fixed = tuple(read_name for read_name in read if read_name not in moving)
        results = results_of(group, list(stages[start:]), ["energy"])
        units.append(Unit(name, tuple(group), moved, fixed, tuple(results)))
        note_moving(group, moving)
    return units
