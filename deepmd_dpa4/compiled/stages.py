"""The parts of a potential that are compiled one by one, as functions of tensors.

Each takes the potential, the numbers of nodes and edges, and tensors; what the descriptor passes in records is
unpacked. Every node is owned: graphs with ghosts are not compiled.
"""

from typing import NamedTuple

from torch import Tensor

from deepmd_dpa4.compiled.segment import Optionals, Stage
from deepmd_dpa4.descriptor.condition import EdgeCondition, EdgeContext, EdgeState
from deepmd_dpa4.graph.edges import EdgeGeometry, Graph
from deepmd_dpa4.model.potential import PotentialMethods


class Edges(NamedTuple):
    """What the edges stage hands to the others; see :class:`deepmd_dpa4.descriptor.condition.EdgeState`."""

    weight: Tensor
    rotation: Tensor
    hidden: Tensor
    source_gate: Tensor | None
    degree: Tensor
    environment: Tensor | None
    moments: Tensor | None


def run_edges(
    potential: PotentialMethods,
    nodes: int,
    edges: int,
    vector: Tensor,
    roll: Tensor | None,
    node_type: Tensor,
    sender: Tensor,
    receiver: Tensor,
) -> Optionals:
    """Geometry, radial features and first sums."""
    graph = Graph(node_type, nodes, node_type, sender, receiver, vector, None)
    state = potential.descriptor.edge_state(graph, roll)
    geometry = state.geometry
    rest = state.degree, state.environment, state.moments
    return Edges(geometry.weight, geometry.rotation, state.hidden, state.source_gate, *rest)


def run_nodes(
    potential: PotentialMethods,
    nodes: int,
    edges: int,
    degree: Tensor,
    environment: Tensor | None,
    moments: Tensor | None,
    types: Tensor,
) -> Optionals:
    """First node state and degree normaliser."""
    graph = Graph(degree, nodes, degree, degree, degree, degree, None)
    state = EdgeState(_geometry(degree, degree), degree, None, degree, environment, moments)
    context, x = potential.descriptor.node_state(state, graph, types)
    return x, context.normalizer


def run_block(
    potential: PotentialMethods,
    nodes: int,
    edges: int,
    x: Tensor,
    weight: Tensor,
    rotation: Tensor,
    hidden: Tensor,
    normalizer: Tensor,
    source_gate: Tensor | None,
    types: Tensor,
    sender: Tensor,
    receiver: Tensor,
    *,
    index: int,
) -> Optionals:
    """One block: the next node features."""
    network = potential.descriptor
    graph = Graph(sender, nodes, sender, sender, receiver, sender, None)
    radial_weight = weight if network.weighted_radial else None
    condition = EdgeCondition(hidden, network.radial_embedding.output_matrix(), radial_weight, types)
    context = EdgeContext(graph, _geometry(weight, rotation), condition, normalizer, source_gate)
    with network.block_precision(x.device):
        return (network.blocks[index](x, context),)


def run_energies(
    potential: PotentialMethods,
    nodes: int,
    edges: int,
    x: Tensor,
    node_type: Tensor,
    fparam: Tensor | None,
    aparam: Tensor | None,
) -> Optionals:
    """Read-out and fitting: energies of the atoms."""
    energy, _ = potential.energies(potential.descriptor.read_out(x), node_type, fparam, aparam)
    return (energy,)


def _geometry(weight: Tensor, rotation: Tensor) -> EdgeGeometry:
    """What the blocks read of the geometry; the rest is filled with what is there."""
    return EdgeGeometry(weight, weight, weight, weight, weight, rotation, None)


EDGES_STAGE = Stage(run_edges, moving=("e-",), fixed=("e-", "n", "e", "e"))
NODES_STAGE = Stage(run_nodes, moving=("n", "n--", "n--"), fixed=("n-",))
BLOCK_AXES = {"moving": ("-n-", "e", "e--", "e-", "n", "e"), "fixed": ("n-", "e", "e")}
ENERGIES_STAGE = Stage(run_energies, moving=("-n-",), fixed=("n", "n-", "n-"))
