"""Energies of a potential by compiled code."""

import logging
from functools import partial
from typing import Any

from torch import Tensor

from deepmd_dpa4.compiled.lower import CompileError, Lowering, inductor
from deepmd_dpa4.compiled.segment import Segment, Stage, UnsuitableSizes
from deepmd_dpa4.compiled.stages import BLOCK_AXES, EDGES_STAGE, ENERGIES_STAGE, NODES_STAGE, Edges, run_block
from deepmd_dpa4.graph.edges import Graph
from deepmd_dpa4.model.potential import PotentialMethods

log = logging.getLogger("deepmd.dpa4")

# The intermediate results of a block exist for all edges at once: some tens of kilobytes for each.
MOST_EDGES = 2**19


class CompiledEnergies:
    r"""What :meth:`deepmd_dpa4.model.potential.PotentialMethods.energies_of` runs instead of plain torch.

    Edges, first node state, each block, and read-out with fitting are stages of their own. For each there is code for
    its value y(x), for the pullback :math:`\bar y^T \partial y/\partial x`, and for the derivative of the pullback,
    which training on forces needs. The last two recompute what they need, so that between forward and backward a stage
    keeps its inputs alone. Numbers of nodes and edges are symbols: nothing is compiled again when they change. Weights
    are inputs, and stages that compute the same share their code.

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

    def __call__(
        self,
        potential: PotentialMethods,
        graph: Graph,
        fparam: Tensor | None,
        aparam: Tensor | None,
        charge_spin: Tensor | None,
    ) -> Tensor | None:
        """Energies of the atoms, (N,) float64 in eV; None where plain torch has to do it.

        That is the case for graphs with ghosts of other ranks, for the evaluation of large systems, which goes in
        tiles, for sizes that the code does not serve (less than two nodes or edges, and what the compiler requires
        besides), and after compilation has failed once, which a warning tells.
        """
        if self.failed or graph.exchange is not None or graph.n_owned != graph.node_type.shape[0]:
            return None
        if not potential.training and graph.receiver.shape[0] > MOST_EDGES:
            return None
        try:
            energy = self.run(potential, graph, potential.of_atoms(fparam, graph), aparam, charge_spin)
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
        if potential.zbl is not None:
            energy = energy + potential.repulsion(graph)
        return energy

    def _tell_sizes(self, graph: Graph) -> None:
        if not self._told_sizes:
            self._told_sizes = True
            nodes, edges = graph.node_type.shape[0], graph.receiver.shape[0]
            log.info("compiled code does not serve %d atoms with %d edges: such systems run without it", nodes, edges)

    def run(
        self,
        potential: PotentialMethods,
        graph: Graph,
        fparam: Tensor | None,
        aparam: Tensor | None,
        charge_spin: Tensor | None,
    ) -> Tensor:
        """All stages; conditions (N, .) are those of atoms."""
        network = potential.descriptor
        nodes, edges = graph.node_type.shape[0], graph.receiver.shape[0]
        roll = network.random_roll(graph.vector)
        types = network.type_features(graph, charge_spin)
        structure = _structure(potential)

        def segment(stage: Stage, name: Any) -> Any:
            key = name, structure
            if key not in self._segments:
                self._segments[key] = Segment(stage, self.lowering)
            return partial(self._segments[key], potential, (nodes, edges))

        ends = graph.sender, graph.receiver
        state = Edges(*segment(EDGES_STAGE, "edges")(graph.vector, roll, graph.node_type, *ends))
        first = segment(NODES_STAGE, "nodes")
        x, normalizer = first(state.degree, state.environment, state.moments, types)
        for index in range(len(network.blocks)):
            stage = Stage(partial(run_block, index=index), **BLOCK_AXES)
            geometry = state.weight, state.rotation, state.hidden, normalizer, state.source_gate
            (x,) = segment(stage, index)(x, *geometry, types, *ends)
        (energy,) = segment(ENERGIES_STAGE, "energies")(x, graph.node_type, fparam, aparam)
        return energy


def _structure(potential: Any) -> tuple[Any, ...]:
    """What loading a checkpoint or adding low-rank adapters changes in a potential that has been traced."""
    return potential.descriptor.weighted_radial, tuple(name for name, _ in potential.named_parameters())
