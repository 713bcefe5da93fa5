"""Source gate of zone bridging (theory 7.2)."""

import torch
from torch import Tensor

from deepmd_dpa4.graph.graph import Graph
from deepmd_dpa4.ops.halo_exchange import fill_ghosts
from deepmd_dpa4.ops.segment import segment_sum


def source_gate(edge_factor: Tensor, graph: Graph) -> Tensor:
    r"""Compute the gate of the sender of each edge, :math:`\eta_j = \prod_{e: j \to} \omega_e`, (E,).

    A node with a frozen neighbour sends nothing, so a frozen pair cannot leak through third atoms. Every pair of
    atoms is an edge in both directions with the same factor, so the product over the edges that leave j is taken
    over those that arrive: they are all known where j is owned. It is the exponential of a sum of logarithms, whose
    derivatives are plain, and exactly 0 if any factor is.
    """
    ends = graph.ends
    frozen = edge_factor <= 0.0
    logarithm = torch.log(torch.where(frozen, torch.ones_like(edge_factor), edge_factor))
    total = segment_sum(logarithm, ends.receiver, ends.n_receivers)
    n_frozen = segment_sum(frozen.to(edge_factor.dtype), ends.receiver, ends.n_receivers)
    gate = torch.where(n_frozen > 0.5, torch.zeros_like(total), torch.exp(total))
    exchange = graph.exchange
    if exchange is not None:
        gate = fill_ghosts(gate.unsqueeze(1), exchange, graph.node_type.shape[0]).squeeze(1)
    return gate.index_select(0, ends.sender)
