r"""Gradients of the turned sums of :mod:`deepmd_dpa4.ops.triton.node_sum`, edge by edge.

With the adjoint :math:`g` of the sum and :math:`q_{e,r} = \sum_s M_{e,rs} g_{n(e),s}`,

.. math:: \bar h = w q, \qquad \bar M_{rs} = \sum_c w h_r g_s, \qquad \bar w = \sum_{r, c} h_r q_r
"""

from typing import Any

import triton
import triton.language as tl
from torch import Tensor
from torch.library import wrap_triton

from deepmd_dpa4.ops.triton.launch import check_counts, interpreted, sizes, starting, tile, warps


@triton.jit
def edge_gradients_kernel(  # type: ignore[no-untyped-def]
    local_bar,
    matrix_bar,
    weight_bar,
    adjoint,
    local,
    matrix,
    weight,
    local_dot,
    matrix_dot,
    weight_dot,
    node,
    C,
    groups,
    group_width,
    R: tl.constexpr,
    S: tl.constexpr,
    WEIGHTED: tl.constexpr,
    DOTTED: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_G: tl.constexpr,
):
    """Compute the gradients of an edge; with DOTTED their derivatives along the dotted tensors.

    Without WEIGHTED that by the matrix alone, for w = 1.
    """
    kind: tl.constexpr = matrix.dtype.element_ty
    edge = tl.program_id(0).to(tl.int64)
    rows, columns = tl.arange(0, BLOCK_R), tl.arange(0, BLOCK_C)
    row_exists, column_exists = rows < R, columns < C
    both_exist = row_exists[:, None] & column_exists[None, :]
    owner = tl.load(node + edge)
    of_matrix, of_adjoint = edge * R * S + rows * S, owner * S * C + columns
    of_local = (edge * R + rows[:, None]) * C + columns[None, :]
    h = tl.load(local + of_local, mask=both_exist, other=0.0).to(kind)
    p = h
    if WEIGHTED:
        of_weight = edge * groups + columns // group_width
        w = tl.load(weight + of_weight, mask=column_exists, other=0.0)[None, :]
        p = w * h
        q = tl.zeros([BLOCK_R, BLOCK_C], dtype=kind)
        if DOTTED:
            h_dot = tl.load(local_dot + of_local, mask=both_exist, other=0.0).to(kind)
            w_dot = tl.load(weight_dot + of_weight, mask=column_exists, other=0.0)[None, :]
            p = w * h_dot + w_dot * h
            q_dot = tl.zeros([BLOCK_R, BLOCK_C], dtype=kind)
    for s in range(S):
        g = tl.load(adjoint + of_adjoint + s * C, mask=column_exists, other=0.0).to(kind)[None, :]
        tl.store(matrix_bar + of_matrix + s, tl.sum(p * g, axis=1), mask=row_exists)
        if WEIGHTED:
            m = tl.load(matrix + of_matrix + s, mask=row_exists, other=0.0)
            q += m[:, None] * g
            if DOTTED:
                m_dot = tl.load(matrix_dot + of_matrix + s, mask=row_exists, other=0.0)
                q_dot += m_dot[:, None] * g
    if WEIGHTED:
        if DOTTED:
            by_weight = tl.sum(h_dot * q + h * q_dot, axis=0)
            tl.store(local_bar + of_local, w_dot * q + w * q_dot, mask=both_exist)
        else:
            by_weight = tl.sum(h * q, axis=0)
            tl.store(local_bar + of_local, w * q, mask=both_exist)
        group = tl.arange(0, BLOCK_G)
        member = group[:, None] == (columns // group_width)[None, :]
        by_group = tl.sum(tl.where(member, by_weight[None, :], 0.0), axis=1)
        tl.store(weight_bar + edge * groups + group, by_group, mask=group < groups)


def edge_gradients(
    adjoint: Tensor,
    local: Tensor,
    matrix: Tensor,
    weight: Tensor,
    dots: tuple[Tensor, Tensor, Tensor] | None,
    node: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Differentiate a turned sum by its arguments.

    Parameters
    ----------
    adjoint : Tensor
        g, (n_nodes, S, C).
    local, matrix, weight, dots, node
        As in :func:`deepmd_dpa4.ops.triton.node_sum.node_sum`.

    Returns
    -------
    tuple[Tensor, Tensor, Tensor]
        By ``local``, ``matrix`` and ``weight``, in their shapes; with ``dots`` their derivatives along these.
    """
    bars = local.new_empty(local.shape), matrix.new_empty(matrix.shape), weight.new_empty(weight.shape)
    _launch(bars, adjoint, local, matrix, weight, dots, node)
    return bars


def edge_outer(adjoint: Tensor, local: Tensor, matrix: Tensor, node: Tensor) -> Tensor:
    """Differentiate :func:`deepmd_dpa4.ops.triton.edge_map.edge_map` by a matrix of the kind of ``matrix``."""
    bar = matrix.new_empty(matrix.shape)
    _launch((matrix, bar, matrix), adjoint, local, matrix, None, None, node)
    return bar


def _launch(
    bars: tuple[Tensor, Tensor, Tensor],
    adjoint: Tensor,
    local: Tensor,
    matrix: Tensor,
    weight: Tensor | None,
    dots: tuple[Tensor, Tensor, Tensor] | None,
    node: Tensor,
) -> None:
    edges, (rows, channels), (_, size) = local.shape[0], sizes(local), sizes(matrix)
    groups = 1 if weight is None else int(weight.shape[1])
    block_r, block_c = tile(rows), tile(channels)
    local_dot, matrix_dot, weight_dot = (matrix, matrix, matrix) if dots is None else dots
    run: Any = interpreted(edge_gradients_kernel, bars[1]) or wrap_triton(edge_gradients_kernel)
    check_counts("edge_gradients", edges)
    with starting("edge_gradients", bars[1]):
        run[(edges,)](
            *bars,
            adjoint,
            local,
            matrix,
            matrix if weight is None else weight,
            local_dot,
            matrix_dot,
            weight_dot,
            node,
            channels,
            groups,
            channels // groups,
            R=rows,
            S=size,
            WEIGHTED=weight is not None,
            DOTTED=dots is not None,
            BLOCK_R=block_r,
            BLOCK_C=block_c,
            BLOCK_G=triton.next_power_of_2(groups),
            num_warps=warps((1 if weight is None else 2) * block_r * block_c),
        )
