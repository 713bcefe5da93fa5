r"""Soft maximum over the edges of a receiver as operators.

With :math:`x_e = \ell_e + 2 \ln w_e` for each head,

.. math:: \alpha_e = \frac{e^{x_e}}{e^{x_0} + \sum_{e' \to i} e^{x_{e'}}}

One program goes through the edges of a receiver twice: once for the largest :math:`x` and the sum relative to it, both
updated as it goes, and once for the weights. Scores are few numbers, so hubs are not divided. Derivatives: kernels 5.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op, wrap_triton

from deepmd_dpa4.ops.triton import on_cpu
from deepmd_dpa4.ops.triton.launch import check_counts, interpreted, starting

EDGES = 32


@triton.jit
def softmax_kernel(  # type: ignore[no-untyped-def]
    alpha, rest, logits, weight, null_logit, spans, H, floor, BLOCK_E: tl.constexpr, BLOCK_H: tl.constexpr
):
    """Weigh the edges of a receiver; ``rest`` is the share of the mass without an edge."""
    receiver = tl.program_id(0)
    begin, end = tl.load(spans + 2 * receiver), tl.load(spans + 2 * receiver + 1)
    head = tl.arange(0, BLOCK_H)
    head_exists = head < H
    x_0 = tl.load(null_logit + head, mask=head_exists, other=0.0)
    largest, total = x_0, tl.full([BLOCK_H], 1.0, dtype=x_0.dtype)
    for start in range(begin, end, BLOCK_E):
        edge = start + tl.arange(0, BLOCK_E)
        exists = edge < end
        both = exists[:, None] & head_exists[None, :]
        w = tl.maximum(tl.load(weight + edge, mask=exists, other=1.0), floor)
        x = tl.load(logits + edge[:, None] * H + head[None, :], mask=both, other=0.0) + 2.0 * tl.log(w)[:, None]
        x = tl.where(both, x, float("-inf"))
        above = tl.maximum(largest, tl.max(x, axis=0))
        total = total * tl.exp(largest - above) + tl.sum(tl.exp(x - above[None, :]), axis=0)
        largest = above
    tl.store(rest + receiver * H + head, tl.exp(x_0 - largest) / total, mask=head_exists)
    for start in range(begin, end, BLOCK_E):
        edge = start + tl.arange(0, BLOCK_E)
        exists = edge < end
        both = exists[:, None] & head_exists[None, :]
        where = edge[:, None] * H + head[None, :]
        w = tl.maximum(tl.load(weight + edge, mask=exists, other=1.0), floor)
        x = tl.load(logits + where, mask=both, other=0.0) + 2.0 * tl.log(w)[:, None]
        tl.store(alpha + where, tl.exp(x - largest[None, :]) / total[None, :], mask=both)


@triton.jit
def softmax_gradients_kernel(  # type: ignore[no-untyped-def]
    by_logits,
    by_weight,
    by_null,
    adjoint,
    alpha,
    rest,
    weight,
    spans,
    H,
    floor,
    BLOCK_E: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    """Differentiate the weights of a receiver."""
    receiver = tl.program_id(0)
    begin, end = tl.load(spans + 2 * receiver), tl.load(spans + 2 * receiver + 1)
    head = tl.arange(0, BLOCK_H)
    head_exists = head < H
    a_0 = tl.load(rest + receiver * H + head, mask=head_exists, other=0.0)
    mean = tl.zeros([BLOCK_H], dtype=a_0.dtype)
    for start in range(begin, end, BLOCK_E):
        edge = start + tl.arange(0, BLOCK_E)
        both = (edge < end)[:, None] & head_exists[None, :]
        where = edge[:, None] * H + head[None, :]
        a = tl.load(alpha + where, mask=both, other=0.0)
        mean += tl.sum(a * tl.load(adjoint + where, mask=both, other=0.0), axis=0)
    tl.store(by_null + receiver * H + head, -a_0 * mean, mask=head_exists)
    for start in range(begin, end, BLOCK_E):
        edge = start + tl.arange(0, BLOCK_E)
        exists = edge < end
        both = exists[:, None] & head_exists[None, :]
        where = edge[:, None] * H + head[None, :]
        a = tl.load(alpha + where, mask=both, other=0.0)
        c = tl.load(adjoint + where, mask=both, other=0.0)
        w = tl.load(weight + edge, mask=exists, other=1.0)
        by_x = a * (c - mean[None, :])
        tl.store(by_logits + where, by_x, mask=both)
        tl.store(by_weight + edge, tl.where(w >= floor, 2.0 * tl.sum(by_x, axis=1) / tl.maximum(w, floor), 0.0), exists)


@triton.jit
def softmax_second_kernel(  # type: ignore[no-untyped-def]
    by_adjoint,
    by_alpha,
    by_weight,
    along_logits,
    along_weight,
    along_null,
    adjoint,
    alpha,
    rest,
    weight,
    spans,
    H,
    floor,
    BLOCK_E: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    """Differentiate the gradients of a receiver along directions, by the adjoint, the weights of edges and w."""
    receiver = tl.program_id(0)
    begin, end = tl.load(spans + 2 * receiver), tl.load(spans + 2 * receiver + 1)
    head = tl.arange(0, BLOCK_H)
    head_exists = head < H
    a_0 = tl.load(rest + receiver * H + head, mask=head_exists, other=0.0)
    h_0 = tl.load(along_null + receiver * H + head, mask=head_exists, other=0.0)
    mean, shift = tl.zeros([BLOCK_H], dtype=a_0.dtype), h_0 * a_0
    for start in range(begin, end, BLOCK_E):
        edge = start + tl.arange(0, BLOCK_E)
        exists = edge < end
        both = exists[:, None] & head_exists[None, :]
        where = edge[:, None] * H + head[None, :]
        a = tl.load(alpha + where, mask=both, other=0.0)
        w = tl.load(weight + edge, mask=exists, other=1.0)
        h_w = tl.load(along_weight + edge, mask=exists, other=0.0)
        along = tl.load(along_logits + where, mask=both, other=0.0)
        along += tl.where(w >= floor, 2.0 * h_w / tl.maximum(w, floor), 0.0)[:, None]
        mean += tl.sum(a * tl.load(adjoint + where, mask=both, other=0.0), axis=0)
        shift += tl.sum(a * along, axis=0)
    for start in range(begin, end, BLOCK_E):
        edge = start + tl.arange(0, BLOCK_E)
        exists = edge < end
        both = exists[:, None] & head_exists[None, :]
        where = edge[:, None] * H + head[None, :]
        a = tl.load(alpha + where, mask=both, other=0.0)
        c = tl.load(adjoint + where, mask=both, other=0.0)
        w = tl.load(weight + edge, mask=exists, other=1.0)
        h_w = tl.load(along_weight + edge, mask=exists, other=0.0)
        per_weight = tl.where(w >= floor, 2.0 / tl.maximum(w, floor), 0.0)
        along = tl.load(along_logits + where, mask=both, other=0.0) + (h_w * per_weight)[:, None]
        tl.store(by_adjoint + where, a * (along - shift[None, :]), mask=both)
        by_a = c * (along - shift[None, :]) - mean[None, :] * (along - h_0[None, :])
        tl.store(by_alpha + where, by_a, mask=both)
        by_x = tl.sum(a * (c - mean[None, :]), axis=1)
        tl.store(by_weight + edge, -0.5 * per_weight * per_weight * h_w * by_x, mask=exists)


@triton_op("dpa4_triton::edge_softmax", mutates_args={})
def edge_softmax(
    logits: Tensor, weight: Tensor, null_logit: Tensor, spans: Tensor, floor: float
) -> tuple[Tensor, Tensor]:
    """Weigh edges by logits (E, H), weights w (E,) and logits without an edge (H,).

    ``spans`` (n_receivers, 2) tell where the edges of a receiver begin and end.

    Returns
    -------
    tuple[Tensor, Tensor]
        (E, H), and the shares of the mass without an edge (n_receivers, H), which have no derivatives.
    """
    alpha, heads, n_receivers = logits.new_empty(logits.shape), int(logits.shape[1]), spans.shape[0]
    rest = logits.new_empty([n_receivers, heads])
    run: Any = interpreted(softmax_kernel, alpha) or wrap_triton(softmax_kernel)
    check_counts("edge_softmax", n_receivers * heads)
    with starting("edge_softmax", alpha):
        run[(n_receivers,)](
            alpha,
            rest,
            logits,
            weight,
            null_logit,
            spans,
            heads,
            floor,
            BLOCK_E=EDGES,
            BLOCK_H=triton.next_power_of_2(heads),
            num_warps=1,
        )
    return alpha, rest


@triton_op("dpa4_triton::edge_softmax_gradients", mutates_args={})
def edge_softmax_gradients(
    adjoint: Tensor, alpha: Tensor, rest: Tensor, weight: Tensor, spans: Tensor, floor: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the gradients by logits (E, H), weights (E,) and, receiver by receiver, null logits (n_receivers, H)."""
    by_logits, by_weight, by_null = alpha.new_empty(alpha.shape), weight.new_empty(weight.shape), torch.empty_like(rest)
    run: Any = interpreted(softmax_gradients_kernel, by_null) or wrap_triton(softmax_gradients_kernel)
    n_receivers, heads = rest.shape[0], int(rest.shape[1])
    check_counts("edge_softmax", n_receivers * heads)
    with starting("edge_softmax", by_null):
        run[(n_receivers,)](
            by_logits,
            by_weight,
            by_null,
            adjoint,
            alpha,
            rest,
            weight,
            spans,
            heads,
            floor,
            BLOCK_E=EDGES,
            BLOCK_H=triton.next_power_of_2(heads),
            num_warps=1,
        )
    return by_logits, by_weight, by_null


@triton_op("dpa4_triton::edge_softmax_second", mutates_args={})
def edge_softmax_second(
    along_logits: Tensor,
    along_weight: Tensor,
    along_null: Tensor,
    adjoint: Tensor,
    alpha: Tensor,
    rest: Tensor,
    weight: Tensor,
    spans: Tensor,
    floor: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Differentiate :func:`edge_softmax_gradients` by its adjoint, by ``alpha`` and by ``weight``."""
    by_adjoint, by_alpha = alpha.new_empty(alpha.shape), alpha.new_empty(alpha.shape)
    by_weight = weight.new_empty(weight.shape)
    run: Any = interpreted(softmax_second_kernel, by_alpha) or wrap_triton(softmax_second_kernel)
    n_receivers, heads = rest.shape[0], int(rest.shape[1])
    check_counts("edge_softmax", n_receivers * heads)
    with starting("edge_softmax", by_alpha):
        run[(n_receivers,)](
            by_adjoint,
            by_alpha,
            by_weight,
            along_logits,
            along_weight,
            along_null,
            adjoint,
            alpha,
            rest,
            weight,
            spans,
            heads,
            floor,
            BLOCK_E=EDGES,
            BLOCK_H=triton.next_power_of_2(heads),
            num_warps=1,
        )
    return by_adjoint, by_alpha, by_weight


def _keep_weights(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    _, weight, _, spans, ctx.floor = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*output, weight, spans)


def _of_softmax(ctx: Any, adjoint: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    by = edge_softmax_gradients(adjoint.contiguous(), *ctx.saved_tensors, ctx.floor)
    return by[0], by[1], by[2].sum(dim=0), None, None


def _keep_all(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[:-1])
    ctx.floor = inputs[-1]


def _of_gradients(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
    directions = [direction.contiguous() for direction in along]
    by_adjoint, by_alpha, by_weight = edge_softmax_second(*directions, *ctx.saved_tensors, ctx.floor)
    return by_adjoint, by_alpha, None, by_weight, None, None


edge_softmax.register_autograd(_of_softmax, setup_context=_keep_weights)
edge_softmax_gradients.register_autograd(_of_gradients, setup_context=_keep_all)
on_cpu.define(edge_softmax, on_cpu.edge_softmax)
on_cpu.define(edge_softmax_gradients, on_cpu.edge_softmax_gradients)
