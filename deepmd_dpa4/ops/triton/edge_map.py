r"""Features of nodes in the frames of their edges.

.. math:: h_{e,r} = \sum_s M_{e,rs}\, x_{n(e),s}

One program forms the features of an edge, or a block of their channels, from the rows of the node.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import wrap_triton

from deepmd_dpa4.ops.triton.launch import MOST_CHANNELS, check_counts, interpreted, sizes, starting, tile, warps


@triton.jit
def edge_map_kernel(  # type: ignore[no-untyped-def]
    local,
    features,
    matrix,
    features_dot,
    matrix_dot,
    node,
    C,
    R: tl.constexpr,
    S: tl.constexpr,
    DOTTED: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Form the features of an edge; with DOTTED their derivative along the dotted tensors."""
    kind: tl.constexpr = matrix.dtype.element_ty
    edge = tl.program_id(0).to(tl.int64)
    rows = tl.arange(0, BLOCK_R)
    columns = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    row_exists, column_exists = rows < R, columns < C
    owner = tl.load(node + edge)
    of_matrix, of_features = edge * R * S + rows * S, owner * S * C + columns
    acc = tl.zeros([BLOCK_R, BLOCK_C], dtype=kind)
    for s in range(S):
        m = tl.load(matrix + of_matrix + s, mask=row_exists, other=0.0)
        x = tl.load(features + of_features + s * C, mask=column_exists, other=0.0).to(kind)
        if DOTTED:
            m_dot = tl.load(matrix_dot + of_matrix + s, mask=row_exists, other=0.0)
            x_dot = tl.load(features_dot + of_features + s * C, mask=column_exists, other=0.0).to(kind)
            acc += m[:, None] * x_dot[None, :] + m_dot[:, None] * x[None, :]
        else:
            acc += m[:, None] * x[None, :]
    where = (edge * R + rows[:, None]) * C + columns[None, :]
    tl.store(local + where, acc.to(local.dtype.element_ty), mask=row_exists[:, None] & column_exists[None, :])


def edge_map(
    features: Tensor,
    matrix: Tensor,
    dots: tuple[Tensor, Tensor] | None,
    node: Tensor,
    precision: torch.dtype | None = None,
) -> Tensor:
    """Turn features of nodes into the frames of edges.

    Parameters
    ----------
    features : Tensor
        x, (n_nodes, S, C).
    matrix : Tensor
        M, (E, R, S).
    dots : tuple or None
        Directions of both; the result is the derivative along them then.
    node : Tensor
        Node of each edge, (E,).
    precision : torch.dtype, optional
        Of the result, which is rounded to it once; by default that of ``matrix``.

    Returns
    -------
    Tensor
        (E, R, C).
    """
    edges, (rows, size), (_, channels) = matrix.shape[0], sizes(matrix), sizes(features)
    local = matrix.new_empty([edges, rows, channels], dtype=precision or matrix.dtype)
    block_r, block_c = tile(rows), tile(channels, MOST_CHANNELS)
    features_dot, matrix_dot = (matrix, matrix) if dots is None else dots
    run: Any = interpreted(edge_map_kernel, local) or wrap_triton(edge_map_kernel)
    check_counts("edge_map", edges)
    with starting("edge_map", local):
        run[(edges, triton.cdiv(channels, block_c))](
            local,
            features,
            matrix,
            features_dot,
            matrix_dot,
            node,
            channels,
            R=rows,
            S=size,
            DOTTED=dots is not None,
            BLOCK_R=block_r,
            BLOCK_C=block_c,
            num_warps=warps((1 if dots is None else 2) * block_r * block_c),
        )
    return local
