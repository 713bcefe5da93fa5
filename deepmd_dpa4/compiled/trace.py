"""A function of tensors as a flat graph of operators with symbolic numbers of nodes and edges."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx
from torch._dispatch.python import enable_python_dispatcher
from torch._dynamo.source import ConstantSource
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv

NODES, EDGES = "nodes", "edges"
# Sizes that a graph is traced with stand for all others; primes that are no size of a network, so that no two axes
# are taken for the same, and of the order of a training batch, because the compiler plans with them.
HINTS = {NODES: 1009, EDGES: 50021}

Axes = tuple[int | str | tuple[str, int], ...]
Function = Callable[..., Any]


@dataclass(frozen=True)
class Spec:
    """What is known of a tensor before it exists.

    Attributes
    ----------
    shape : tuple
        Sizes; ``NODES`` or ``EDGES`` where the size is that of the system, with a factor where it is a multiple.
    dtype : torch.dtype
        Type.
    device : torch.device
        Device.
    """

    shape: Axes
    dtype: torch.dtype
    device: torch.device


@dataclass(frozen=True)
class Program:
    """A traced function. Two are equal if they compute the same, whatever module they were traced from."""

    code: str
    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]
    graph: fx.GraphModule = field(compare=False, repr=False)


def trace(function: Function, inputs: Sequence[Spec]) -> fx.GraphModule:
    """Trace ``function`` and the gradients inside it.

    Parameters
    ----------
    function : Callable
        Of the numbers of nodes and edges and of tensors, to a tuple of tensors (or None).
    inputs : Sequence[Spec]
        The tensors.
    """
    environment = ShapeEnv()
    sizes = {axis: _symbol(environment, axis) for axis in HINTS}
    mode = FakeTensorMode(shape_env=environment)
    mode.cache_enabled = False  # where sizes are symbols, looking up a result costs more than computing it
    with mode, enable_python_dispatcher(), torch.autograd.set_multithreading_enabled(False):
        fake = [_fake(spec, sizes) for spec in inputs]
        return make_fx(function)(*sizes.values(), *fake)


def program_of(function: Function, inputs: Sequence[Spec]) -> tuple[Program, list[int]]:
    """Turn a function into a program; tell which of its arguments it uses.

    Raises
    ------
    ValueError
        If the function holds tensors that are neither arguments nor made in it.
    """
    with torch.no_grad():
        traced = trace(function, inputs)
    placeholders = traced.graph.find_nodes(op="placeholder")
    sizes, tensors = placeholders[: len(HINTS)], placeholders[len(HINTS) :]
    used = [index for index, node in enumerate(tensors) if node.users]
    constants = traced.graph.find_nodes(op="get_attr")
    if constants:
        raise ValueError(f"the traced function holds constant tensors: {', '.join(str(node) for node in constants)}")
    graph = _renamed(traced.graph, sizes + [tensors[index] for index in used])
    (results,) = graph.output_node().args
    outputs = tuple(spec_of_fake(node.meta["val"]) for node in results)  # type: ignore[union-attr]
    module = fx.GraphModule(torch.nn.Module(), graph)
    return Program(module.code, tuple(inputs[index] for index in used), outputs, module), used


def spec_of(value: Tensor, axes: str) -> Spec:
    """Describe a tensor.

    Parameters
    ----------
    value : Tensor
        Any.
    axes : str
        One letter for each axis: ``n`` nodes, ``e`` edges, ``-`` a size of the network.
    """
    names = {"n": NODES, "e": EDGES}
    shape = tuple(names.get(letter, size) for letter, size in zip(axes, value.shape, strict=True))
    return Spec(shape, value.dtype, value.device)


def _symbol(environment: ShapeEnv, axis: str) -> Any:
    source = ConstantSource(axis)
    symbol = environment.create_symbol(HINTS[axis], source, dynamic_dim=DimDynamic.DYNAMIC)
    return environment.create_symintnode(symbol, hint=HINTS[axis], source=source)


def _fake(spec: Spec, sizes: dict[str, Any]) -> Tensor:
    return torch.empty(shape_of(spec, sizes), dtype=spec.dtype, device=spec.device)


def shape_of(spec: Spec, sizes: Mapping[str, Any]) -> list[Any]:
    """Return the shape of a tensor for numbers of nodes and edges."""
    return [
        size if isinstance(size, int) else sizes[size] if isinstance(size, str) else size[1] * sizes[size[0]]
        for size in spec.shape
    ]


def spec_of_fake(fake: Tensor) -> Spec:
    """Describe a tensor of a trace.

    Raises
    ------
    ValueError
        If a size is no multiple of the numbers of nodes or edges.
    """
    return Spec(tuple(map(_axis, fake.shape)), fake.dtype, fake.device)


def _axis(size: Any) -> int | str | tuple[str, int]:
    if isinstance(size, int):
        return size
    for axis, hint in HINTS.items():
        factor, rest = divmod(size.node.hint, hint)
        if rest == 0:
            return axis if factor == 1 else (axis, factor)
    raise ValueError(f"{size} is no multiple of the numbers of nodes or edges")


def _renamed(graph: fx.Graph, placeholders: list[fx.Node]) -> fx.Graph:
    """Copy with the given placeholders alone and names that do not depend on where the graph comes from."""
    renamed = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for index, node in enumerate(placeholders):
        copies[node] = renamed.placeholder(f"input_{index}")
        copies[node].meta = dict(node.meta)
    for node in graph.nodes:
        if node.op == "call_function":
            name = getattr(node.target, "__name__", "node")
            arguments = fx.map_arg((node.args, node.kwargs), lambda argument: copies[argument])
            copies[node] = renamed.create_node("call_function", node.target, *arguments, name=name)
            copies[node].meta = {"val": node.meta["val"]} if "val" in node.meta else {}
        elif node.op == "output":
            renamed.output(fx.map_arg(node.args[0], lambda argument: copies[argument]))
    return renamed
