"""Energies of a potential by compiled code."""

import logging
from typing import Any

import torch
from torch import Tensor

from deepmd_dpa4.compiled.lower import CompileError, Lowering, inductor
from deepmd_dpa4.compiled.segment import Budget, Segment, UnsuitableSizes
from deepmd_dpa4.compiled.unit import EAGER, Unit, units_of
from deepmd_dpa4.graph.graph import Graph
from deepmd_dpa4.model.potential import PotentialMethods

log = logging.getLogger("deepmd.dpa4")

# The intermediate results of a block exist for all edges at once: some tens of kilobytes for each.
MOST_EDGES = 2**19
SHARE = 0.5
"""Part of the free memory that may hold what is kept; gradients and what code needs while it runs take the rest."""


class CompiledEnergies:
    r"""Drives the stages of a potential by compiled code.

    Edges, first node state, each block, and read-out with fitting are units of their own. For each there is code for
    its value y(x), for the pullback :math:`\bar y^T \partial y/\partial x`, and for the derivative of the pullback,
    which training on forces needs. As long as memory suffices, each hands on what the next ones read; the derivatives
    of the other units recompute what they need, and between forward and backward such a unit keeps its inputs alone.
    Numbers of nodes and edges are symbols: nothing is compiled again when they change. Weights
    are inputs, and units that compute the same share their code.

    Parameters
    ----------
    lowering : Callable
        Compiler of graphs.
    memory : float, optional
        Memory for what is kept, in gigabytes; by default half of what the device has free, and none on CPUs.
    """

    def __init__(self, lowering: Lowering = inductor, memory: float | None = None) -> None:
        self.lowering, self.memory = lowering, memory
        self.failed = False
        self._told_sizes = False
        self._segments: dict[Any, Segment] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> "CompiledEnergies":
        return CompiledEnergies(self.lowering, self.memory)

    def __reduce__(self) -> tuple[Any, ...]:
        return CompiledEnergies, (self.lowering, self.memory)

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
        structure, budget = _structure(potential), Budget(self._bytes(graph.vector.device))
        for position, unit in enumerate(units_of(potential.stages(graph.vector, True))):
            if unit.name == EAGER:
                for stage in unit.stages:
                    values.update(potential.run_stage(stage, graph, values))
            else:
                segment = self._segment(unit, (position, structure))
                made = segment(potential, sizes, budget, *unit.arguments(graph, values))
                values.update((name, value) for name, value in zip(unit.results, made) if value is not None)
        return values["energy"]

    def _bytes(self, device: torch.device) -> int:
        """Memory that an evaluation may keep."""
        if self.memory is not None:
            return int(self.memory * 1e9)
        if device.type != "cuda" or not torch.is_grad_enabled():
            return 0
        free, _ = torch.cuda.mem_get_info(device)
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(SHARE * (free + unused))

    def _segment(self, unit: Unit, key: Any) -> Segment:
        if key not in self._segments:
            self._segments[key] = Segment(unit, self.lowering)
        return self._segments[key]


def _structure(potential: Any) -> tuple[Any, ...]:
    """List what loading a checkpoint or adding low-rank adapters changes in a potential that has been traced."""
    return potential.descriptor.weighted_radial, tuple(name for name, _ in potential.named_parameters())
