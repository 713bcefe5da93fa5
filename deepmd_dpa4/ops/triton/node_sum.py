r"""Edge features turned back and summed for each node.

.. math:: y_{n,s} = \sum_{e: n(e) = n} \sum_r M_{e,rs}\, w_e\, h_{e,r}

One program sums the edges of one node, row by row of their features. The edges of a hub are shared by
several programs, whose sums a second kernel adds in a fixed order, so that results never depend on who is first.
"""

from typing import Any

import triton
import triton.language as tl
from torch import Tensor
from torch.library import wrap_triton

from deepmd_dpa4.ops.triton.launch import MOST_CHANNELS, MOST_ROWS, check_counts, interpreted, sizes, starting, tile

# Nodes with more than HUB edges are hubs; their edges are divided after every SPLIT-th edge of the whole list.
SPLIT, HUB = 512, 1024
# Warps by the rows of a tile: with others the assembler spills a register or two on some cards, to have more programs.
WARPS = {16: 2, 32: 8, 64: 4}


@triton.jit
def node_sum_kernel(  # type: ignore[no-untyped-def]
    total,
    partial,
    local,
    matrix,
    weight,
    local_dot,
    matrix_dot,
    weight_dot,
    spans,
    node,
    order,
    n_nodes,
    n_edges,
    C,
    groups,
    group_width,
    R: tl.constexpr,
    S: tl.constexpr,
    WEIGHTED: tl.constexpr,
    DOTTED: tl.constexpr,
    ORDERED: tl.constexpr,
    SPLIT: tl.constexpr,
    HUB: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Sum the edges of a node, or some of a hub's; with DOTTED the derivative of the sum along the dotted tensors."""
    kind: tl.constexpr = matrix.dtype.element_ty
    item = tl.program_id(0)
    piece = item - n_nodes
    cut = piece * SPLIT
    owner = item
    if piece >= 0:
        position = cut
        if ORDERED:
            position = tl.load(order + cut, mask=cut < n_edges, other=0).to(tl.int32)
        owner = tl.load(node + position, mask=cut < n_edges, other=0).to(tl.int32)
    span = spans + 2 * owner.to(tl.int64)
    begin = tl.load(span, mask=owner < n_nodes, other=0).to(tl.int32)
    end = tl.load(span + 1, mask=owner < n_nodes, other=0).to(tl.int32)
    is_hub = end - begin > HUB
    start, target, row = begin, total, owner
    if piece >= 0:
        start, target, row = cut, partial, piece
    stop = end
    if is_hub:
        stop = tl.minimum(end, (start // SPLIT + 1) * SPLIT)
    if (piece < 0) | (is_hub & (cut > begin) & (cut < n_edges)):
        rows = tl.program_id(2) * BLOCK_S + tl.arange(0, BLOCK_S)
        columns = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
        row_exists, column_exists = rows < S, columns < C
        acc = tl.zeros([BLOCK_S, BLOCK_C], dtype=kind)
        for position in range(start, stop):
            edge = tl.cast(position, tl.int64)
            if ORDERED:
                edge = tl.load(order + position)
            m_row, h_row = matrix + edge * R * S + rows, local + edge * R * C + columns
            if DOTTED:
                m_dot_row, h_dot_row = matrix_dot + edge * R * S + rows, local_dot + edge * R * C + columns
            if WEIGHTED:
                of_weight = edge * groups + columns // group_width
                w = tl.load(weight + of_weight, mask=column_exists, other=0.0)
                if DOTTED:
                    w_dot = tl.load(weight_dot + of_weight, mask=column_exists, other=0.0)
            for r in range(R):
                m = tl.load(m_row + r * S, mask=row_exists, other=0.0)
                h = tl.load(h_row + r * C, mask=column_exists, other=0.0).to(kind)
                if DOTTED:
                    m_dot = tl.load(m_dot_row + r * S, mask=row_exists, other=0.0)
                    h_dot = tl.load(h_dot_row + r * C, mask=column_exists, other=0.0).to(kind)
                    if WEIGHTED:
                        h_dot = w * h_dot + w_dot * h
                    acc += m[:, None] * h_dot[None, :]
                if WEIGHTED:
                    h = w * h
                if DOTTED:
                    acc += m_dot[:, None] * h[None, :]
                else:
                    acc += m[:, None] * h[None, :]
        where = (row.to(tl.int64) * S + rows[:, None]) * C + columns[None, :]
        tl.store(target + where, acc, mask=row_exists[:, None] & column_exists[None, :])


@triton.jit
def add_pieces_kernel(  # type: ignore[no-untyped-def]
    total,
    partial,
    spans,
    node,
    order,
    n_edges,
    width,
    ORDERED: tl.constexpr,
    SPLIT: tl.constexpr,
    HUB: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add the pieces of a hub to its sum; the program of its first piece does it."""
    piece = tl.program_id(0)
    cut = piece * SPLIT
    if cut < n_edges:
        position = cut
        if ORDERED:
            position = tl.load(order + cut).to(tl.int32)
        owner = tl.load(node + position)
        begin = tl.load(spans + 2 * owner).to(tl.int32)
        end = tl.load(spans + 2 * owner + 1).to(tl.int32)
        if (end - begin > HUB) & (cut > begin) & (cut - begin <= SPLIT):
            columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
            exists = columns < width
            where = total + owner.to(tl.int64) * width + columns
            acc = tl.load(where, mask=exists, other=0.0)
            for other in range(piece, (end - 1) // SPLIT + 1):
                acc += tl.load(partial + tl.cast(other, tl.int64) * width + columns, mask=exists, other=0.0)
            tl.store(where, acc, mask=exists)


def node_sum(
    local: Tensor,
    matrix: Tensor,
    weight: Tensor | None,
    dots: tuple[Tensor, Tensor, Tensor | None] | None,
    spans: Tensor,
    node: Tensor,
    order: Tensor | None,
    split: int = SPLIT,
    hub: int = HUB,
) -> Tensor:
    """Sum edge features in the frame of their nodes.

    Parameters
    ----------
    local : Tensor
        h, (E, R, C).
    matrix : Tensor
        M, (E, R, S).
    weight : Tensor or None
        w of groups of consecutive channels, (E, G); None for 1.
    dots : tuple or None
        Directions of these three; the result is the derivative along them then.
    spans, node, order
        Where the edges of a node begin and end, (n_nodes, 2); node of each edge (E,); edges in the order of their nodes
        (E,), None if they are.
    split, hub : int
        Edges of a piece, and most edges of a node that one program sums.

    Returns
    -------
    Tensor
        (n_nodes, S, C), in the precision of ``matrix``.
    """
    edges, (rows, channels), (_, size) = local.shape[0], sizes(local), sizes(matrix)
    groups = 1 if weight is None else int(weight.shape[1])
    n_nodes, pieces = spans.shape[0], edges // split + 1
    total = matrix.new_empty([n_nodes, size, channels])
    partial = matrix.new_empty([pieces, size, channels])
    block_s, block_c = tile(size, MOST_ROWS), tile(channels, MOST_CHANNELS)
    unused = matrix
    local_dot, matrix_dot, weight_dot = (unused, unused, unused) if dots is None else dots
    run: Any = interpreted(node_sum_kernel, total) or wrap_triton(node_sum_kernel)
    check_counts("node_sum", n_nodes + pieces, edges + split)
    with starting("node_sum", total):
        run[(n_nodes + pieces, triton.cdiv(channels, block_c), triton.cdiv(size, block_s))](
            total,
            partial,
            local,
            matrix,
            unused if weight is None else weight,
            local_dot,
            matrix_dot,
            unused if weight_dot is None else weight_dot,
            spans,
            node,
            node if order is None else order,
            n_nodes,
            edges,
            channels,
            groups,
            channels // groups,
            R=rows,
            S=size,
            WEIGHTED=weight is not None,
            DOTTED=dots is not None,
            ORDERED=order is not None,
            SPLIT=split,
            HUB=hub,
            BLOCK_S=block_s,
            BLOCK_C=block_c,
            num_warps=WARPS[block_s],
        )
    width, block = size * channels, 256
    add: Any = interpreted(add_pieces_kernel, total) or wrap_triton(add_pieces_kernel)
    with starting("node_sum", total):
        add[(pieces, triton.cdiv(width, block))](
            total,
            partial,
            spans,
            node,
            node if order is None else order,
            edges,
            width,
            ORDERED=order is not None,
            SPLIT=split,
            HUB=hub,
            BLOCK=block,
            num_warps=4,
        )
    return total
