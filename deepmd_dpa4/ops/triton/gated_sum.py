r"""Gates and residual sum of an SO(2) layer as operators.

.. math:: h'_{00} = h_{00} + z_{00}\,\sigma(z_{00}), \qquad h'_{l,\pm m} = h_{l,\pm m} + \sigma(t_l)\, z_{l,\pm m}

One program has a tile of edges and channels and goes through the degrees; it reads and writes every number once, where
plain torch reads gates for each order, and each gradient for every use. Derivatives: kernels 9.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op, wrap_triton

from deepmd_dpa4.ops.triton import on_cpu
from deepmd_dpa4.ops.triton.launch import MOST_CHANNELS, check_counts, interpreted, starting, tile

# Numbers of a tile of edges and channels.
NUMBERS, WARPS = 512, 4
# Orders that the kernels have arguments for, m = 0 included.
ORDERS = 4


@triton.jit
def _add(result, features, mixed, at, features_at, gate, exists):  # type: ignore[no-untyped-def]
    """Add a gated row to a row of features."""
    z = tl.load(mixed + at, mask=exists, other=0.0).to(tl.float32)
    h = tl.load(features + features_at, mask=exists, other=0.0).to(tl.float32)
    tl.store(result + at, (h + gate * z).to(result.dtype.element_ty), mask=exists)


@triton.jit
def _pull(by_mixed, adjoint, mixed, at, gate, exists):  # type: ignore[no-untyped-def]
    """Write the gradient by a row, and return the part of the gradient by its gate."""
    a = tl.load(adjoint + at, mask=exists, other=0.0).to(tl.float32)
    z = tl.load(mixed + at, mask=exists, other=0.0).to(tl.float32)
    tl.store(by_mixed + at, (a * gate).to(by_mixed.dtype.element_ty), mask=exists)
    return a * z


@triton.jit
def _push(by_adjoint, by_mixed, along, adjoint, mixed, at, gate, slope, exists):  # type: ignore[no-untyped-def]
    """Differentiate :func:`_pull`; ``slope`` is the direction by the logit times the derivative of the gate."""
    u = tl.load(along + at, mask=exists, other=0.0).to(tl.float32)
    a = tl.load(adjoint + at, mask=exists, other=0.0).to(tl.float32)
    z = tl.load(mixed + at, mask=exists, other=0.0).to(tl.float32)
    tl.store(by_adjoint + at, (u * gate + slope * z).to(by_adjoint.dtype.element_ty), mask=exists)
    tl.store(by_mixed + at, (slope * a).to(by_mixed.dtype.element_ty), mask=exists)
    return u * a, a * z


@triton.jit
def gated_sum_kernel(  # type: ignore[no-untyped-def]
    result_0,
    result_1,
    result_2,
    result_3,
    features_0,
    features_1,
    features_2,
    features_3,
    mixed_0,
    mixed_1,
    mixed_2,
    mixed_3,
    logits,
    items,
    C,
    stride_0,
    stride_1,
    stride_2,
    stride_3,
    L: tl.constexpr,
    M: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Add; rows of one edge and stream follow each other, those of ``features`` after a stride."""
    item = (tl.program_id(0).to(tl.int64) * BLOCK_E + tl.arange(0, BLOCK_E))[:, None]
    column = (tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C))[None, :]
    exists = (item < items) & (column < C)
    at, above = item * (L + 1) * C + column, item * stride_0 + column
    x = tl.load(mixed_0 + at, mask=exists, other=0.0).to(tl.float32)
    _add(result_0, features_0, mixed_0, at, above, 1.0 / (1.0 + tl.exp(-x)), exists)
    for degree in tl.static_range(1, L + 1):
        t = tl.load(logits + item * L * C + (degree - 1) * C + column, mask=exists, other=0.0).to(tl.float32)
        gate = 1.0 / (1.0 + tl.exp(-t))
        _add(result_0, features_0, mixed_0, at + degree * C, above + degree * C, gate, exists)
        for sign in tl.static_range(2):
            if M >= 1:
                row = (2 * (degree - 1) + sign) * C + column
                _add(result_1, features_1, mixed_1, item * 2 * L * C + row, item * stride_1 + row, gate, exists)
            if M >= 2 and degree >= 2:
                row = (2 * (degree - 2) + sign) * C + column
                _add(result_2, features_2, mixed_2, item * 2 * (L - 1) * C + row, item * stride_2 + row, gate, exists)
            if M >= 3 and degree >= 3:
                row = (2 * (degree - 3) + sign) * C + column
                _add(result_3, features_3, mixed_3, item * 2 * (L - 2) * C + row, item * stride_3 + row, gate, exists)


@triton.jit
def gated_sum_gradients_kernel(  # type: ignore[no-untyped-def]
    by_mixed_0,
    by_mixed_1,
    by_mixed_2,
    by_mixed_3,
    by_logits,
    adjoint_0,
    adjoint_1,
    adjoint_2,
    adjoint_3,
    mixed_0,
    mixed_1,
    mixed_2,
    mixed_3,
    logits,
    items,
    C,
    L: tl.constexpr,
    M: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Differentiate by the mixed features and the logits."""
    item = (tl.program_id(0).to(tl.int64) * BLOCK_E + tl.arange(0, BLOCK_E))[:, None]
    column = (tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C))[None, :]
    exists = (item < items) & (column < C)
    at = item * (L + 1) * C + column
    x = tl.load(mixed_0 + at, mask=exists, other=0.0).to(tl.float32)
    s = 1.0 / (1.0 + tl.exp(-x))
    _pull(by_mixed_0, adjoint_0, mixed_0, at, s * (1.0 + x * (1.0 - s)), exists)
    for degree in tl.static_range(1, L + 1):
        of_gate = item * L * C + (degree - 1) * C + column
        t = tl.load(logits + of_gate, mask=exists, other=0.0).to(tl.float32)
        gate = 1.0 / (1.0 + tl.exp(-t))
        total = _pull(by_mixed_0, adjoint_0, mixed_0, at + degree * C, gate, exists)
        for sign in tl.static_range(2):
            if M >= 1:
                row = (item * 2 * L + 2 * (degree - 1) + sign) * C + column
                total += _pull(by_mixed_1, adjoint_1, mixed_1, row, gate, exists)
            if M >= 2 and degree >= 2:
                row = (item * 2 * (L - 1) + 2 * (degree - 2) + sign) * C + column
                total += _pull(by_mixed_2, adjoint_2, mixed_2, row, gate, exists)
            if M >= 3 and degree >= 3:
                row = (item * 2 * (L - 2) + 2 * (degree - 3) + sign) * C + column
                total += _pull(by_mixed_3, adjoint_3, mixed_3, row, gate, exists)
        tl.store(by_logits + of_gate, (total * gate * (1.0 - gate)).to(by_logits.dtype.element_ty), mask=exists)


@triton.jit
def gated_sum_second_kernel(  # type: ignore[no-untyped-def]
    by_adjoint_0,
    by_adjoint_1,
    by_adjoint_2,
    by_adjoint_3,
    by_mixed_0,
    by_mixed_1,
    by_mixed_2,
    by_mixed_3,
    by_logits,
    along_0,
    along_1,
    along_2,
    along_3,
    along_logits,
    adjoint_0,
    adjoint_1,
    adjoint_2,
    adjoint_3,
    mixed_0,
    mixed_1,
    mixed_2,
    mixed_3,
    logits,
    items,
    C,
    L: tl.constexpr,
    M: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Differentiate the gradients along directions, by the adjoint, the mixed features and the logits."""
    item = (tl.program_id(0).to(tl.int64) * BLOCK_E + tl.arange(0, BLOCK_E))[:, None]
    column = (tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C))[None, :]
    exists = (item < items) & (column < C)
    at = item * (L + 1) * C + column
    x = tl.load(mixed_0 + at, mask=exists, other=0.0).to(tl.float32)
    u = tl.load(along_0 + at, mask=exists, other=0.0).to(tl.float32)
    a = tl.load(adjoint_0 + at, mask=exists, other=0.0).to(tl.float32)
    s = 1.0 / (1.0 + tl.exp(-x))
    curvature = s * (1.0 - s) * (2.0 + x * (1.0 - 2.0 * s))
    tl.store(by_adjoint_0 + at, (u * s * (1.0 + x * (1.0 - s))).to(by_adjoint_0.dtype.element_ty), mask=exists)
    tl.store(by_mixed_0 + at, (u * a * curvature).to(by_mixed_0.dtype.element_ty), mask=exists)
    for degree in tl.static_range(1, L + 1):
        of_gate = item * L * C + (degree - 1) * C + column
        t = tl.load(logits + of_gate, mask=exists, other=0.0).to(tl.float32)
        v = tl.load(along_logits + of_gate, mask=exists, other=0.0).to(tl.float32)
        gate = 1.0 / (1.0 + tl.exp(-t))
        slope = v * gate * (1.0 - gate)
        first, second = _push(
            by_adjoint_0, by_mixed_0, along_0, adjoint_0, mixed_0, at + degree * C, gate, slope, exists
        )
        for sign in tl.static_range(2):
            if M >= 1:
                row = (item * 2 * L + 2 * (degree - 1) + sign) * C + column
                one, other = _push(by_adjoint_1, by_mixed_1, along_1, adjoint_1, mixed_1, row, gate, slope, exists)
                first, second = first + one, second + other
            if M >= 2 and degree >= 2:
                row = (item * 2 * (L - 1) + 2 * (degree - 2) + sign) * C + column
                one, other = _push(by_adjoint_2, by_mixed_2, along_2, adjoint_2, mixed_2, row, gate, slope, exists)
                first, second = first + one, second + other
            if M >= 3 and degree >= 3:
                row = (item * 2 * (L - 2) + 2 * (degree - 3) + sign) * C + column
                one, other = _push(by_adjoint_3, by_mixed_3, along_3, adjoint_3, mixed_3, row, gate, slope, exists)
                first, second = first + one, second + other
        by_t = first * gate * (1.0 - gate) + second * slope * (1.0 - 2.0 * gate)
        tl.store(by_logits + of_gate, by_t.to(by_logits.dtype.element_ty), mask=exists)


@triton_op("dpa4_triton::gated_sum", mutates_args={})
def gated_sum(features: list[Tensor], mixed: list[Tensor], logits: Tensor) -> list[Tensor]:
    """Compute :class:`deepmd_dpa4.ops.gated_sum.GatedSum` of silu.

    Of a single stream, ``features`` may be columns of a longer matrix; all other tensors are contiguous.
    """
    features = [one if one.shape[0] == 1 and one.stride(2) == 1 else one.contiguous() for one in features]
    result = [
        one.new_empty(one.shape, dtype=torch.promote_types(one.dtype, two.dtype))
        for one, two in zip(features, mixed, strict=True)
    ]
    tensors = [*_all(result), *_all(features), *_all(mixed), logits]
    _start(gated_sum_kernel, "gated_sum", tensors, mixed, logits, [int(one.stride(1)) for one in _all(features)])
    return result


@triton_op("dpa4_triton::gated_sum_gradients", mutates_args={})
def gated_sum_gradients(adjoint: list[Tensor], mixed: list[Tensor], logits: Tensor) -> list[Tensor]:
    """Compute the gradients of :func:`gated_sum` by the mixed features and, last, by the logits."""
    by_mixed, by_logits = [torch.empty_like(one) for one in mixed], torch.empty_like(logits)
    tensors = [*_all(by_mixed), by_logits, *_all(adjoint), *_all(mixed), logits]
    _start(gated_sum_gradients_kernel, "gated_sum_gradients", tensors, mixed, logits)
    return [*by_mixed, by_logits]


@triton_op("dpa4_triton::gated_sum_second", mutates_args={})
def gated_sum_second(along: list[Tensor], adjoint: list[Tensor], mixed: list[Tensor], logits: Tensor) -> list[Tensor]:
    """Differentiate :func:`gated_sum_gradients` by its three arguments along directions of its results."""
    by_adjoint, by_mixed = [torch.empty_like(one) for one in adjoint], [torch.empty_like(one) for one in mixed]
    by_logits = torch.empty_like(logits)
    directions = [*_all(along[:-1]), along[-1]]
    tensors = [*_all(by_adjoint), *_all(by_mixed), by_logits, *directions, *_all(adjoint), *_all(mixed), logits]
    _start(gated_sum_second_kernel, "gated_sum_second", tensors, mixed, logits)
    return [*by_adjoint, *by_mixed, by_logits]


def _all(groups: list[Tensor]) -> list[Tensor]:
    """One tensor for each order that the kernels have arguments for; they do not touch those that are repeated."""
    return [*groups, *[groups[0]] * (ORDERS - len(groups))]


def _start(
    kernel: Any, name: str, tensors: list[Tensor], mixed: list[Tensor], logits: Tensor, strides: list[int] | None = None
) -> None:
    streams, edges, width = logits.shape
    rows = int(mixed[0].shape[2])
    # one row of m = 0 has no gate
    channels = rows - int(width)
    block_c = tile(channels, MOST_CHANNELS)
    block_e = NUMBERS // block_c
    items = streams * edges
    check_counts(name, items)
    run: Any = interpreted(kernel, tensors[0]) or wrap_triton(kernel)
    with starting(name, tensors[0]):
        run[(triton.cdiv(items, block_e), triton.cdiv(channels, block_c))](
            *tensors,
            items,
            channels,
            *(strides or []),
            L=rows // channels - 1,
            M=len(mixed) - 1,
            BLOCK_E=block_e,
            BLOCK_C=block_c,
            num_warps=WARPS,
        )


def _filled(given: list[Tensor | None], like: list[Tensor]) -> list[Tensor]:
    """Contiguous gradients; zeros where there is none."""
    return [
        torch.zeros_like(one) if gradient is None else gradient.contiguous()
        for gradient, one in zip(given, like, strict=True)
    ]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    features, mixed, logits = inputs
    ctx.types = [one.dtype for one in features]
    ctx.save_for_backward(*mixed, logits)


def _of_sum(ctx: Any, adjoint: list[Tensor | None]) -> tuple[Any, ...]:
    *mixed, logits = ctx.saved_tensors
    directions = _filled(adjoint, mixed)
    *by_mixed, by_logits = gated_sum_gradients(directions, mixed, logits)
    by_features = [one.to(kind) for one, kind in zip(directions, ctx.types, strict=True)]
    return by_features, by_mixed, by_logits


def _keep_all(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    adjoint, mixed, logits = inputs
    ctx.save_for_backward(*adjoint, *mixed, logits)


def _of_gradients(ctx: Any, along: list[Tensor | None]) -> tuple[Any, ...]:
    *both, logits = ctx.saved_tensors
    count = len(both) // 2
    adjoint, mixed = both[:count], both[count:]
    found = gated_sum_second(_filled(along, [*mixed, logits]), adjoint, mixed, logits)
    return found[:count], found[count:-1], found[-1]


gated_sum.register_autograd(_of_sum, setup_context=_keep)
gated_sum_gradients.register_autograd(_of_gradients, setup_context=_keep_all)
on_cpu.define(gated_sum, on_cpu.gated_sum)
on_cpu.define(gated_sum_gradients, on_cpu.gated_sum_gradients)
