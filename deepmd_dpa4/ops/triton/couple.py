r"""Products through sparse coupling coefficients as operators.

.. math:: y_{o} = \sum_{k = first_o}^{first_{o+1} - 1} v_k\, x_{i_k} z_{j_k}

column by column. One kernel serves the product of two fields and its derivatives, which differ by their tables
(kernels 6). One program sums the terms of a row for a tile of columns; rows of the arguments are read from the cache.
"""

from typing import Any

import numpy as np
import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op, wrap_triton

from deepmd_dpa4.ops.triton import on_cpu
from deepmd_dpa4.ops.triton.launch import check_counts, interpreted, starting

COLUMNS = 256


def tables_of(index: np.ndarray, value: np.ndarray, rows: int) -> dict[str, np.ndarray]:
    """Sort coefficients by the row of the product, and by the row of a factor.

    Parameters
    ----------
    index, value : np.ndarray
        Rows (a, b, c) with a <= b, which stand for (b, a, c) too, (n, 3), and coefficients (n,).
    rows : int
        Number of rows.

    Returns
    -------
    dict[str, np.ndarray]
        For the ``product`` and the ``adjoint``: where the terms of each row begin (rows + 1,), rows of both factors
        (m, 2), and coefficients (m,).
    """
    twice = index[:, 0] != index[:, 1]
    index = np.concatenate([index, index[twice][:, [1, 0, 2]]])
    value = np.concatenate([value, value[twice]])
    found = {}
    for name, (row, *factors) in {"product": (2, 0, 1), "adjoint": (0, 1, 2)}.items():
        order = np.lexsort((index[:, factors[1]], index[:, factors[0]], index[:, row]))
        found[f"{name}_first"] = np.searchsorted(index[order, row], np.arange(rows + 1)).astype(np.int32)
        found[f"{name}_factors"] = np.ascontiguousarray(index[order][:, factors], np.int32)
        found[f"{name}_value"] = value[order]
    return found


@triton.jit
def couple_kernel(result, left, right, first, factors, value, columns, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Sum the terms of a row."""
    row = tl.program_id(1)
    column = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = column < columns
    acc = tl.zeros([BLOCK], dtype=result.dtype.element_ty)
    for term in range(tl.load(first + row), tl.load(first + row + 1)):
        one = tl.load(factors + 2 * term).to(tl.int64) * columns + column
        other = tl.load(factors + 2 * term + 1).to(tl.int64) * columns + column
        x, z = tl.load(left + one, mask=exists, other=0.0), tl.load(right + other, mask=exists, other=0.0)
        acc += tl.load(value + term) * x * z
    tl.store(result + row.to(tl.int64) * columns + column, acc, mask=exists)


def _couple(left: Tensor, right: Tensor, first: Tensor, factors: Tensor, value: Tensor) -> Tensor:
    rows, columns = left.shape
    result = left.new_empty(left.shape)
    run: Any = interpreted(couple_kernel, result) or wrap_triton(couple_kernel)
    grid = triton.cdiv(columns, COLUMNS), int(rows)
    check_counts("couple", grid[0])
    with starting("couple", result):
        run[grid](result, left, right, first, factors, value, columns, BLOCK=COLUMNS, num_warps=4)
    return result


@triton_op("dpa4_triton::couple", mutates_args={})
def couple(
    left: Tensor,
    right: Tensor,
    first: Tensor,
    factors: Tensor,
    value: Tensor,
    adjoint_first: Tensor,
    adjoint_factors: Tensor,
    adjoint_value: Tensor,
) -> Tensor:
    """Multiply fields (rows, columns) by the tables of :func:`tables_of`."""
    return _couple(left, right, first, factors, value)


@triton_op("dpa4_triton::couple_adjoint", mutates_args={})
def couple_adjoint(
    factor: Tensor,
    adjoint: Tensor,
    first: Tensor,
    factors: Tensor,
    value: Tensor,
    adjoint_first: Tensor,
    adjoint_factors: Tensor,
    adjoint_value: Tensor,
) -> Tensor:
    """Differentiate :func:`couple` by one factor, at the other."""
    return _couple(factor, adjoint, adjoint_first, adjoint_factors, adjoint_value)


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _of_couple(ctx: Any, adjoint: Tensor) -> tuple[Tensor | None, ...]:
    left, right, *tables = ctx.saved_tensors
    adjoint = adjoint.contiguous()
    return couple_adjoint(right, adjoint, *tables), couple_adjoint(left, adjoint, *tables), *[None] * 6


def _of_adjoint(ctx: Any, direction: Tensor) -> tuple[Tensor | None, ...]:
    factor, adjoint, *tables = ctx.saved_tensors
    direction = direction.contiguous()
    return couple_adjoint(direction, adjoint, *tables), couple(direction, factor, *tables), *[None] * 6


couple.register_autograd(_of_couple, setup_context=_keep)
couple_adjoint.register_autograd(_of_adjoint, setup_context=_keep)
on_cpu.define(couple, lambda left, right, *tables: on_cpu.multiply(left, right, *tables[:3]))
on_cpu.define(couple_adjoint, lambda factor, adjoint, *tables: on_cpu.multiply(factor, adjoint, *tables[3:]))
