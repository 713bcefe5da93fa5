"""What the operators of evaluation compute where there is no card, in plain torch.

Graphs for compiled files are traced and tried on CPUs, whatever card they are for.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from triton import knobs

from deepmd_dpa4.ops import gated_sum as ops
from deepmd_dpa4.ops.rotation import rotate_back_sum, rotate_in, weigh
from deepmd_dpa4.ops.segment import segment_sum
from deepmd_dpa4.ops.softmax import masses


def define(operator: Any, function: Callable[..., Any]) -> None:
    """Let an operator call ``function`` for tensors of a CPU, unless Triton interprets its kernels there."""
    if not knobs.runtime.interpret:
        operator.register_kernel("cpu")(function)


def turn_in(
    features: Tensor,
    matrix: Tensor,
    node: Tensor,
    by_node: Tensor | None = None,
    spans: Tensor | None = None,
    precision: torch.dtype | None = None,
) -> Tensor:
    """Compute M_e x_n(e)."""
    local = rotate_in(features.to(matrix.dtype), node, matrix)
    return local if precision is None else local.to(precision)


def turn_in_gradients(
    local: Tensor, features: Tensor, matrix: Tensor, node: Tensor, *_: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Compute the sum of M_e^T h_e over the edges of each node, and h_e x_n(e)^T."""
    local, features = local.to(matrix.dtype), features.to(matrix.dtype)
    turned = rotate_back_sum(local, matrix, node, features.shape[0])
    return turned, local @ features.index_select(0, node).transpose(1, 2)


def turn_back_sum(local: Tensor, matrix: Tensor, weight: Tensor, node: Tensor, n_nodes: int, *_: Any) -> Tensor:
    """Compute the sum of M_e^T (w_e h_e) over the edges of each node."""
    return rotate_back_sum(weigh(local.to(matrix.dtype), weight.unsqueeze(1)), matrix, node, n_nodes)


def turn_back_gradients(
    adjoint: Tensor,
    local: Tensor,
    matrix: Tensor,
    weight: Tensor,
    node: Tensor,
    *_: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """Differentiate :func:`turn_back_sum` by features, matrices and weights."""
    precision, local = local.dtype, local.to(matrix.dtype)
    sent = adjoint.index_select(0, node)
    turned = matrix @ sent
    groups = weight.unsqueeze(1)
    by_weight = (turned * local).sum(dim=1).unflatten(1, (weight.shape[1], -1)).sum(dim=2)
    return weigh(turned, groups).to(precision), weigh(local, groups) @ sent.transpose(1, 2), by_weight


def multiply(left: Tensor, right: Tensor, first: Tensor, factors: Tensor, value: Tensor) -> Tensor:
    """Sum the terms v x_i z_j of each row of a table of coefficients."""
    row = _owner(first.diff())
    one, other = factors.long().unbind(dim=1)
    return segment_sum(value[:, None] * left.index_select(0, one) * right.index_select(0, other), row, left.shape[0])


def edge_softmax(
    logits: Tensor, weight: Tensor, null_logit: Tensor, spans: Tensor, floor: float
) -> tuple[Tensor, Tensor]:
    """Weigh edges, and the shares of the mass without an edge."""
    receiver, n_receivers = _receiver(spans), spans.shape[0]
    mass, null = masses(logits.unsqueeze(1), weight, null_logit.unsqueeze(0), receiver, n_receivers, floor)
    total = null + segment_sum(mass, receiver, n_receivers)
    return (mass / total.index_select(0, receiver)).squeeze(1), (null / total).squeeze(1)


def edge_softmax_gradients(
    adjoint: Tensor, alpha: Tensor, rest: Tensor, weight: Tensor, spans: Tensor, floor: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Differentiate :func:`edge_softmax` by logits, weights and, receiver by receiver, null logits."""
    receiver = _receiver(spans)
    mean = segment_sum(alpha * adjoint, receiver, spans.shape[0])
    by_logits = alpha * (adjoint - mean.index_select(0, receiver))
    by_weight = torch.where(weight >= floor, 2.0 * by_logits.sum(dim=1) / weight.clamp(min=floor), 0.0)
    return by_logits, by_weight, -rest * mean


def gated_sum(features: list[Tensor], mixed: list[Tensor], logits: Tensor) -> list[Tensor]:
    """Add gated features of edges."""
    lmax = logits.shape[2] // (mixed[0].shape[2] - logits.shape[2])
    active = functional.silu(mixed[0][:, :, : logits.shape[2] // lmax])
    return ops.gated_sum(features, mixed, logits, lmax, active)


def gated_sum_gradients(adjoint: list[Tensor], mixed: list[Tensor], logits: Tensor) -> list[Tensor]:
    """Differentiate :func:`gated_sum` by the mixed features and, last, by the logits."""
    streams, edges, width = logits.shape
    channels = mixed[0].shape[2] - width
    lmax = width // channels
    gates = torch.sigmoid(logits).view(streams, edges, lmax, 1, channels)
    scalars = mixed[0][:, :, :channels]
    s = torch.sigmoid(scalars)
    found, total = list[Tensor](), torch.zeros_like(gates)
    for order, (one, z) in enumerate(zip(adjoint, mixed, strict=True)):
        rows = [group[:, :, channels if order == 0 else 0 :] for group in (one, z)]
        degrees = slice(max(order - 1, 0), None)
        shape = [streams, edges, lmax - degrees.start, -1, channels]
        c, x = (group.reshape(shape) for group in rows)
        total[:, :, degrees] += (c * x).sum(dim=3, keepdim=True)
        found.append((c * gates[:, :, degrees]).flatten(2))
    by_scalars = adjoint[0][:, :, :channels] * s * (1.0 + scalars * (1.0 - s))
    found[0] = torch.cat([by_scalars, found[0]], dim=2)
    return [*found, (total * gates * (1.0 - gates)).flatten(2)]


def _receiver(spans: Tensor) -> Tensor:
    return _owner(spans[:, 1] - spans[:, 0])


def _owner(counts: Tensor) -> Tensor:
    return torch.repeat_interleave(torch.arange(counts.shape[0], device=counts.device), counts)
