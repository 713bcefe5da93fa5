"""The graph a model is evaluated on."""

from typing import NamedTuple

from torch import Tensor


class Ends(NamedTuple):
    """The two nodes of each edge; an edge runs from its sender j to its receiver i."""

    sender: Tensor
    """Node j of each edge, (E,) int64."""
    receiver: Tensor
    """Node i of each edge, (E,) int64."""
    n_receivers: int
    """Number N of nodes that receive: the owned ones, which come first."""
    by_sender: Tensor | None = None
    """Edges in the order of their senders, (E,) int64; for operations that sum over the edges of a sender."""
    spans: Tensor | None = None
    """Where the edges of each node begin and end, (2, M, 2) int64: those that it receives, and in ``by_sender`` those
    that it sends."""


class Graph(NamedTuple):
    """Nodes and directed edges of all frames of a batch.

    Nodes are the owned atoms, frame after frame, followed by the ghosts of other ranks if there are any. Edges are
    sorted by receiver, except in traced graphs of plain kernels, which take them in any order. An edge whose length
    reaches the cutoff contributes nothing, which is how a fixed-size caller masks edges.
    """

    node_type: Tensor
    """Type index of each node, (M,) int64; padding atoms carry the number of types."""
    frame: Tensor
    """Frame of each node, (M,) int64."""
    ends: Ends
    """Nodes of the edges."""
    vector: Tensor
    """r_j + shift - r_i of each edge, (E, 3) float64, Angstrom: the leaf that forces are derived from."""
    exchange: dict[str, Tensor] | None
    """Tables that copy owned node features to the ghosts of other ranks; None if every node is owned."""
