"""The maps between nodes and edge frames as operators that autograd and torch's compiler see through.

Their derivatives are members of the same family (kernels 8): all orders of :func:`turn_in`, two of
:func:`turn_back_sum`.
"""

from typing import Any

import torch
from torch import Tensor
from torch.library import triton_op

from deepmd_dpa4.graph.order import spans_of
from deepmd_dpa4.ops.triton import on_cpu
from deepmd_dpa4.ops.triton.edge_gradients import edge_gradients, edge_outer
from deepmd_dpa4.ops.triton.edge_map import edge_map
from deepmd_dpa4.ops.triton.node_sum import HUB, SPLIT, node_sum


@triton_op("dpa4_triton::turn_in", mutates_args={})
def turn_in(
    features: Tensor,
    matrix: Tensor,
    node: Tensor,
    by_node: Tensor | None = None,
    spans: Tensor | None = None,
    precision: torch.dtype | None = None,
) -> Tensor:
    """Compute M_e x_n(e) from features (n, S, C) and matrices (E, R, S): (E, R, C).

    The gradient by the features is a sum over the edges of each node: it reads ``by_node`` (E,), the edges in the order
    of their nodes, and ``spans`` (n, 2), see :func:`deepmd_dpa4.graph.order.spans_of`, or makes them each time. The
    result is rounded to ``precision``, if that is given.
    """
    return edge_map(features, matrix, None, node, precision)


@triton_op("dpa4_triton::turn_in_along", mutates_args={})
def turn_in_along(
    features: Tensor,
    matrix: Tensor,
    features_dot: Tensor,
    matrix_dot: Tensor,
    node: Tensor,
    by_node: Tensor | None,
    spans: Tensor | None,
    precision: torch.dtype | None,
) -> Tensor:
    """Compute the derivative of :func:`turn_in` along the dotted tensors."""
    return edge_map(features, matrix, (features_dot, matrix_dot), node, precision)


@triton_op("dpa4_triton::turn_in_gradients", mutates_args={})
def turn_in_gradients(
    local: Tensor, features: Tensor, matrix: Tensor, node: Tensor, by_node: Tensor | None, spans: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Compute the gradients of :func:`turn_in` by both arguments for the adjoint ``local`` (E, R, C)."""
    if by_node is None or spans is None:
        by_node = torch.argsort(node, stable=True)
        spans = spans_of(node.index_select(0, by_node), features.shape[0])
    by_features = node_sum(local, matrix, None, None, spans, node, by_node)
    return by_features, edge_outer(features, local, matrix, node)


@triton_op("dpa4_triton::turn_back_sum", mutates_args={})
def turn_back_sum(
    local: Tensor,
    matrix: Tensor,
    weight: Tensor,
    node: Tensor,
    n_nodes: int,
    split: int = SPLIT,
    hub: int = HUB,
    spans: Tensor | None = None,
) -> Tensor:
    """Compute the sum of M_e^T (w_e h_e) over the edges of each node, which are sorted by node: (n_nodes, S, C).

    ``local`` (E, R, C), ``matrix`` (E, R, S), ``weight`` (E, G) of G groups of consecutive channels; ``spans``
    (n_nodes, 2) as of :func:`deepmd_dpa4.graph.order.spans_of`, which is called without them.
    """
    spans = spans_of(node, n_nodes) if spans is None else spans
    return node_sum(local, matrix, weight, None, spans, node, None, split, hub)


@triton_op("dpa4_triton::turn_back_gradients", mutates_args={})
def turn_back_gradients(
    adjoint: Tensor,
    local: Tensor,
    matrix: Tensor,
    weight: Tensor,
    node: Tensor,
    split: int,
    hub: int,
    spans: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the gradients of :func:`turn_back_sum` by its first three arguments."""
    return edge_gradients(adjoint, local, matrix, weight, None, node)


@triton_op("dpa4_triton::turn_back_second", mutates_args={})
def turn_back_second(
    adjoint: Tensor,
    local: Tensor,
    matrix: Tensor,
    weight: Tensor,
    local_dot: Tensor,
    matrix_dot: Tensor,
    weight_dot: Tensor,
    node: Tensor,
    split: int,
    hub: int,
    spans: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Differentiate :func:`turn_back_gradients` by its first four arguments; the dotted are the given adjoints."""
    dots = local_dot, matrix_dot, weight_dot
    spans = spans_of(node, adjoint.shape[0]) if spans is None else spans
    by_adjoint = node_sum(local, matrix, weight, dots, spans, node, None, split, hub)
    return (by_adjoint, *edge_gradients(adjoint, local, matrix, weight, dots, node))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    tensors = [value for value in inputs if value is None or isinstance(value, Tensor)]
    # numbers of nodes are symbols in traces
    ctx.numbers = [value for value in inputs if not (value is None or isinstance(value, Tensor))]
    ctx.save_for_backward(*tensors)


def _keep_edges(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    # the last one is the precision
    _keep(ctx, inputs[:-1], output)


def _of_turn_in(ctx: Any, adjoint: Tensor) -> tuple[Tensor | None, ...]:
    return (*turn_in_gradients(adjoint.contiguous(), *ctx.saved_tensors), None, None, None, None)


def _of_turn_in_along(ctx: Any, adjoint: Tensor) -> tuple[Tensor | None, ...]:
    features, matrix, features_dot, matrix_dot, *edges = ctx.saved_tensors
    adjoint = adjoint.contiguous()
    by_features, by_matrix_dot = turn_in_gradients(adjoint, features, matrix_dot, *edges)
    by_features_dot, by_matrix = turn_in_gradients(adjoint, features_dot, matrix, *edges)
    return by_features, by_matrix, by_features_dot, by_matrix_dot, None, None, None, None


def _of_turn_in_gradients(ctx: Any, features_dot: Tensor, matrix_dot: Tensor) -> tuple[Tensor | None, ...]:
    local, features, matrix, *edges = ctx.saved_tensors
    features_dot, matrix_dot = features_dot.contiguous(), matrix_dot.contiguous()
    by_local = turn_in_along(features, matrix, features_dot, matrix_dot, *edges, local.dtype)
    return (by_local, *turn_in_gradients(local, features_dot, matrix_dot, *edges), None, None, None)


def _of_turn_back_sum(ctx: Any, adjoint: Tensor) -> tuple[Tensor | None, ...]:
    local, matrix, weight, node, spans = ctx.saved_tensors
    _, split, hub = ctx.numbers
    bars = turn_back_gradients(adjoint.contiguous(), local, matrix, weight, node, split, hub, spans)
    return (*bars, None, None, None, None, None)


def _of_turn_back_gradients(ctx: Any, *dots: Tensor) -> tuple[Tensor | None, ...]:
    adjoint, local, matrix, weight, node, spans = ctx.saved_tensors
    directions = [dot.contiguous() for dot in dots]
    found = turn_back_second(adjoint, local, matrix, weight, *directions, node, *ctx.numbers, spans)
    return (*found, None, None, None, None)


turn_in.register_autograd(_of_turn_in, setup_context=_keep_edges)
turn_in_along.register_autograd(_of_turn_in_along, setup_context=_keep_edges)
turn_in_gradients.register_autograd(_of_turn_in_gradients, setup_context=_keep)
turn_back_sum.register_autograd(_of_turn_back_sum, setup_context=_keep)
turn_back_gradients.register_autograd(_of_turn_back_gradients, setup_context=_keep)

for _operator, _function in (
    (turn_in, on_cpu.turn_in),
    (turn_in_gradients, on_cpu.turn_in_gradients),
    (turn_back_sum, on_cpu.turn_back_sum),
    (turn_back_gradients, on_cpu.turn_back_gradients),
):
    on_cpu.define(_operator, _function)
