"""From a traced graph to code that runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensor

from deepmd_dpa4.compiled.trace import HINTS

Run = Callable[..., Any]
Lowering = Callable[[fx.GraphModule], Run]

# For graphics cards torch 2.11 may join sums along rows with sums along columns. The sizes that a graph is traced with
# decide whether that pays, and the code serves no others: fewer than 163,840 edges with 32 channels.
# Small kernels that need nothing of each other are launched together.
OPTIONS = {"triton.mix_order_reduction": False, "combo_kernels": True}
# Generated code counts the numbers of a tensor in 32 bits where those that a graph is traced with allow it.
MOST_NUMBERS = 2**31 - 1
# Kernels that one launch runs; torch takes as many.
TOGETHER = 8


class CompileError(Exception):
    """A graph could not be traced or compiled; the cause says why."""


@dataclass(frozen=True)
class Compiled:
    """Code for one graph.

    Attributes
    ----------
    run : Callable
        Numbers of nodes and edges, then tensors, contiguous and without history, to a sequence of tensors.
    serves : Callable
        Whether the code is right for these numbers of nodes and edges.
    """

    run: Run
    serves: Callable[[int, int], bool]


@contextmanager
def telling_failure() -> Iterator[None]:
    """Turn what goes wrong into :class:`CompileError`, except for want of memory."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise CompileError from error


def compile_graph(make: Callable[[], fx.GraphModule], lowering: Lowering) -> Compiled:
    """Generate code for the graph that ``make`` traces.

    Raises
    ------
    CompileError
        If it cannot be traced or compiled.
    """
    with telling_failure():
        graph = make()
        sizes = [node.meta["val"] for node in graph.graph.find_nodes(op="placeholder")[: len(HINTS)]]
        run = lowering(graph)
        environment = sizes[0].node.shape_env
        condition, most = environment.produce_guards_expression(sizes), _most(graph, sizes)

    def serves(*counts: int) -> bool:
        countable = all(count <= allowed for count, allowed in zip(counts, most, strict=True))
        return countable and bool(environment.evaluate_guards_expression(condition, counts))

    return Compiled(run, serves)


def _most(graph: fx.GraphModule, sizes: list[torch.SymInt]) -> list[int]:
    """Return the largest numbers of nodes and edges with which no tensor of a graph has too many numbers."""
    numbers = [1] * len(sizes)
    for node in graph.graph.nodes:
        value = node.meta.get("val")
        count = value.numel() if isinstance(value, torch.Tensor) else 0
        if isinstance(count, torch.SymInt):
            for index, size in enumerate(sizes):
                if size.node.expr in count.node.expr.free_symbols:
                    numbers[index] = max(numbers[index], -(-count.node.hint // size.node.hint))
    return [MOST_NUMBERS // number for number in numbers]


def inductor(graph: fx.GraphModule) -> Run:
    """Generate code by torch's compiler, for all sizes at once.

    It is called where ``torch.compile`` would call it, without the part that watches Python code and compiles again
    when a size or a flag changes.
    """
    from torch._guards import TracingContext, tracing
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx

    from deepmd_dpa4.compiled.made_once import MadeOnce

    inputs = [node.meta["val"] for node in graph.graph.find_nodes(op="placeholder")]
    mode = next(value.fake_mode for value in inputs if isinstance(value, FakeTensor))
    options = OPTIONS | {"post_grad_custom_post_pass": MadeOnce()}
    known = {name: value for name, value in options.items() if name in config.get_config_copy()}
    with tracing(TracingContext(mode)), config.patch(known), edges_alone(inputs[1].node.expr):
        return compile_fx(graph, inputs)  # type: ignore[return-value]


@contextmanager
def edges_alone(edges: Any) -> Iterator[None]:
    """Let torch's compiler launch together only kernels that have no axis of edges.

    Kernels launched together share the size of their blocks, and the registers that the largest of them needs. That is
    a gain where launching is most of the cost, and a loss where the number of edges decides.

    Parameters
    ----------
    edges : sympy.Symbol
        Number of edges.
    """
    from torch._inductor.scheduler import ForeachKernelSchedulerNode as Together

    def groups(scheduler: Any) -> list[list[Any]]:
        independent = ([node for node in level if _small(node, edges)] for level in scheduler._topological_sort_nodes())
        return [nodes[first : first + TOGETHER] for nodes in independent for first in range(0, len(nodes), TOGETHER)]

    usual = Together.group_algorithm_for_combo_kernels
    Together.set_group_algorithm_for_combo_kernels(groups)
    try:
        yield
    finally:
        Together.set_group_algorithm_for_combo_kernels(usual)


def _small(node: Any, edges: Any) -> bool:
    """Tell whether a kernel may be launched with others: it runs on a card and has no axis of edges."""
    device, sizes = getattr(node, "group", (None, ()))
    return device is not None and device.type == "cuda" and not any(edges in size.free_symbols for size in sizes)
