"""Autograd for tensors of a graphics card that is not there.

Tensors without data (``FakeTensorMode``) can be on a card that a machine lacks, and so can their history, but torch's
autograd engine asks the driver for a device. This module walks the history in Python instead.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.autograd.graph import Node

Edge = tuple[Node, int]
Gradients = tuple[Tensor | None, ...]


@contextmanager
def python_engine() -> Iterator[None]:
    """Replace torch's autograd engine; backward passes then need no device."""
    running: list[set[Node]] = []

    def grad(
        outputs: Any,
        inputs: Any,
        grad_outputs: Any = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        allow_unused: bool = False,
        **_: Any,
    ) -> Gradients:
        outputs, inputs = _sequence(outputs), _sequence(inputs)
        seeds = [None] * len(outputs) if grad_outputs is None else _sequence(grad_outputs)
        wanted = [_edge(tensor) for tensor in inputs]
        found = _walk(outputs, seeds, wanted, create_graph, running)
        if not allow_unused and any(gradient is None for gradient in found):
            raise RuntimeError("one of the tensors that gradients are asked for does not take part")
        return found

    def backward(tensors: Any, gradient: Any = None, *_: Any, **__: Any) -> None:
        tensors = _sequence(tensors)
        leaves = _leaves([_edge(tensor)[0] for tensor in tensors])
        seeds = [None] * len(tensors) if gradient is None else _sequence(gradient)
        found = _walk(tensors, seeds, [(leaf, 0) for leaf in leaves], False, running)
        for leaf, value in zip(leaves, found, strict=True):
            variable = leaf.variable  # type: ignore[attr-defined]
            if value is not None:
                variable.grad = value if variable.grad is None else variable.grad + value

    def will_execute(node: Node) -> bool:
        if not running:
            raise RuntimeError("no backward pass is running")
        return node in running[-1]

    set_materialize = FunctionCtx.set_materialize_grads

    def set_and_note(ctx: Any, value: bool) -> None:
        set_materialize(ctx, value)
        ctx.takes_none = not value

    with ExitStack() as stack:
        for target, name, value in (
            (FunctionCtx, "set_materialize_grads", set_and_note),
            (torch.autograd, "grad", grad),
            (torch.autograd, "backward", backward),
            (torch._C, "_will_engine_execute_node", will_execute),
        ):
            stack.enter_context(mock.patch.object(target, name, value))
        yield


def _walk(
    outputs: Sequence[Tensor],
    seeds: Sequence[Tensor | None],
    wanted: Sequence[Edge],
    create_graph: bool,
    running: list[set[Node]],
) -> Gradients:
    """Sum the gradients that arrive at the edges ``wanted`` of the history."""
    roots = [_edge(output) for output in outputs]
    arriving: dict[Node, dict[int, Tensor]] = defaultdict(dict)
    with torch.set_grad_enabled(create_graph):
        for (node, slot), output, seed in zip(roots, outputs, seeds, strict=True):
            _add(arriving[node], slot, torch.ones_like(output) if seed is None else seed)
        order = _order([node for node, _ in roots])
        needed = _above(order, {node for node, _ in wanted})
        ends = set(wanted)
        found: dict[Edge, Tensor] = {}
        running.append(needed)
        try:
            for node in order:
                given = arriving.pop(node, {})
                found.update({(node, slot): value for slot, value in given.items() if (node, slot) in ends})
                if not given or not any(following in needed for following, _ in node.next_functions):
                    continue
                count = max(len(getattr(node, "_input_metadata", ())), max(given) + 1)
                results = _call(node, [given.get(slot) for slot in range(count)])
                for (following, slot), value in zip(node.next_functions, results, strict=True):
                    if following in needed and value is not None:
                        _add(arriving[following], slot, _fitted(value, following, slot))
        finally:
            running.pop()
    return tuple(found.get(edge) for edge in wanted)


def _call(node: Any, given: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
    """Gradients by the tensors that a step of the history started from."""
    if callable(node):
        return _sequence(node(*given))
    # a function written in Python: it expects zeros unless it has said otherwise, which torch does not tell, and also
    # answers for arguments that need no gradient, of which those that are no tensors have no edge
    made = list(given)
    if not getattr(node, "takes_none", False):
        made = [_zeros(metadata) if value is None else value for value, metadata in zip(given, node._input_metadata)]
    results = zip(_sequence(node.apply(*made)), node.needs_input_grad, strict=True)
    needed = (result for result, is_needed in results if is_needed)
    return [None if following is None else next(needed) for following, _ in node.next_functions]


def _zeros(metadata: Any) -> Tensor:
    return torch.zeros(metadata.shape, dtype=metadata.dtype, device=metadata.device)


def _fitted(value: Tensor, node: Node, slot: int) -> Tensor:
    """Reduce a gradient over broadcast axes and convert its type, which the formulas leave to the engine."""
    expected = node._input_metadata[slot]  # type: ignore[attr-defined]
    if tuple(value.shape) != tuple(expected.shape):
        value = value.sum_to_size(expected.shape)
    return value if value.dtype == expected.dtype else value.to(expected.dtype)


def _add(slots: dict[int, Tensor], slot: int, value: Tensor) -> None:
    slots[slot] = slots[slot] + value if slot in slots else value


def _edge(tensor: Tensor) -> Edge:
    if tensor.grad_fn is not None:
        return tensor.grad_fn, tensor.output_nr
    return torch.autograd.graph.get_gradient_edge(tensor)[:2]


def _order(roots: Sequence[Node]) -> list[Node]:
    """Order the history so that a node comes after all that send it gradients."""
    order: list[Node] = []
    seen: set[Node] = set()
    for root in roots:
        path: list[tuple[Node, bool]] = [(root, False)]
        while path:
            node, done = path.pop()
            if done:
                order.append(node)
            elif node not in seen:
                seen.add(node)
                path.append((node, True))
                path += [(following, False) for following, _ in node.next_functions if following is not None]
    return order[::-1]


def _above(order: Sequence[Node], ends: set[Node]) -> set[Node]:
    """Nodes from which one of ``ends`` is reached."""
    needed: set[Node] = set()
    for node in reversed(order):
        if node in ends or any(following in needed for following, _ in node.next_functions):
            needed.add(node)
    return needed


def _leaves(roots: Sequence[Node]) -> list[Any]:
    return [node for node in _order(roots) if hasattr(node, "variable")]


def _sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (tuple, list)) else (value,)
