"""Edges of a graph in the order of their senders, and where those of each node begin and end."""

import torch
from torch import Tensor

from deepmd_dpa4.graph.graph import Ends


def with_order(ends: Ends, n_nodes: int) -> Ends:
    """Add the orders in which nodes receive and send to edges that are sorted by receiver.

    Parameters
    ----------
    ends : Ends
        Nodes of the edges.
    n_nodes : int
        Number M of all nodes.
    """
    by_sender = torch.argsort(ends.sender, stable=True)
    received, sent = spans_of(ends.receiver, n_nodes), spans_of(ends.sender.index_select(0, by_sender), n_nodes)
    return Ends(ends.sender, ends.receiver, ends.n_receivers, by_sender, torch.stack([received, sent]))


def received_of(ends: Ends) -> Tensor:
    """Return where the edges of each receiver begin and end, (N, 2)."""
    if ends.spans is None:
        return spans_of(ends.receiver, ends.n_receivers)
    return ends.spans[0, : ends.n_receivers]


def spans_of(node: Tensor, n_nodes: int) -> Tensor:
    """Find where the entries of each node begin and end, (n_nodes, 2), in a sorted list ``node``."""
    first = torch.searchsorted(node, torch.arange(n_nodes + 1, device=node.device, dtype=node.dtype))
    return torch.stack([first[:-1], first[1:]], dim=1)
