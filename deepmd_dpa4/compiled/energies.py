"""Energies of a potential by compiled code."""

import logging
from typing import Any

from torch import Tensor

from deepmd_dpa4.compiled.lower import CompileError, Lowering, inductor
from deepmd_dpa4.compiled.segment import Segment, UnsuitableSizes
from deepmd_dpa4.compiled.unit import EAGER, Unit, units_of
from deepmd_dpa4.graph.graph import Graph
from deepmd_dpa4.model.potential import PotentialMethods

log = logging.getLogger("deepmd.dpa4")

# The intermediate results of a block exist for all edges at once: some tens of kilobytes for each.
MOST_EDGES = 2**19


class CompiledEnergies:
    r"""Drives the stages of a potential by compiled code.

    Edges, first node state, each block, and read-out with fitting are units of their own. For each there is code for
    its value y(x), for the pullback :math:`\bar y^T \partial y/\partial x`, and for the derivative of the pullback,
    which training on forces needs. The last two recompute what they need, so that between forward and backward a unit
    keeps its inputs alone. Numbers of nodes and edges are symbols: nothing is compiled again when they change. Weights
    are inputs, and units that compute the same share their code.

    Parameters
    ----------
    lowering : Callable
        Compiler of graphs.
    """

    def __init__(self, lowering: Lowering = inductor) -> None:
        self.lowering = lowering
        self.failed = False
        self._told_sizes = False
        self._segments: dict[Any, Segment] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> "CompiledEnergies":
        return CompiledEnergies(self.lowering)

    def __reduce__(self) -> tuple[Any, ...]:
        return CompiledEnergies, (self.lowering,)

    def __call__(self, potential: PotentialMethods, graph: Graph, values: dict[str, Tensor]) -> Tensor | None:
        """Evaluate the energies of the atoms, (N,) float64 in eV; None where plain torch has to do it.

        That is the case for graphs with ghosts of other ranks, for the evaluation of large systems, which goes in
        tiles, for sizes that the code does not serve (less than two nodes or edges, and what the compiler requires
        besides), and after compilation has failed once, which a warning tells.
        """
        if self.failed or graph.exchange is not None or graph.ends.n_receivers != graph.node_type.shape[0]:
            return None
        if not potential.training and len(graph.vector) > MOST_EDGES:
            return None
        try:
            return self.run(potential, graph, values)
        except UnsuitableSizes:
            self._tell_sizes(graph)
            return None
        except CompileError as error:
            self.failed = True
            cause = error.__cause__
            reason = str(cause).strip().split("\n")[0]
            log.warning("compilation failed, the model runs without it: %s: %s", type(cause).__name__, reason)
            log.debug("compilation failed", exc_info=error)
            return None

    def _tell_sizes(self, graph: Graph) -> None:
        if not self._told_sizes:
            self._told_sizes = True
            nodes, edges = len(graph.node_type), len(graph.vector)
            log.info("compiled code does not serve %d atoms with %d edges: such systems run without it", nodes, edges)

    def run(self, potential: PotentialMethods, graph: Graph, values: dict[str, Tensor]) -> Tensor:
        """Run all units."""
        sizes = len(graph.node_type), len(graph.vector)
        structure = _structure(potential)
        for position, unit in enumerate(units_of(potential.stages(graph.vector, True))):
            if unit.name == EAGER:
                for stage in unit.stages:
                    values.update(potential.run_stage(stage, graph, values))
            else:
                segment = self._segment(unit, (position, structure))
                made = segment(potential, sizes, *unit.arguments(graph, values))
                values.update((name, value) for name, value in zip(unit.results, made) if value is not None)
        return values["energy"]

    def _segment(self, unit: Unit, key: Any) -> Segment:
        if key not in self._segments:
            self._segments[key] = Segment(unit, self.lowering)
        return self._segments[key]


def _structure(potential: Any) -> tuple[Any, ...]:
    """List what loading a checkpoint or adding low-rank adapters changes in a potential that has been traced."""
    return potential.descriptor.weighted_radial, tuple(name for name, _ in potential.named_parameters())
