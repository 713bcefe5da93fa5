"""What torch's compiler plans for a graphics card that is not there: arithmetic, memory traffic and kernels."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest import mock

import sympy
import torch
import torch._inductor.scheduler
from torch import Tensor, fx, nn
from torch._dynamo.device_interface import CudaInterface
from torch._inductor import config
from torch._inductor.graph import GraphLowering
from torch._inductor.ir import MultiOutput
from torch._inductor.scheduler import (
    ExternKernelSchedulerNode,
    ForeachKernelSchedulerNode,
    NopKernelSchedulerNode,
)
from torch._inductor.virtualized import V
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import flop_registry

from benchmarks.counting import Cost
from benchmarks.launches import is_launch, name_of, traffic_of
from deepmd_dpa4.compiled.lower import inductor

CARD = torch.device("cuda", 0)
PROPERTIES = SimpleNamespace(
    name="NVIDIA H100",
    major=9,
    minor=0,
    multi_processor_count=132,
    regs_per_multiprocessor=65536,
    max_threads_per_multi_processor=2048,
    max_threads_per_block=1024,
    shared_memory_per_block_optin=232448,
    warp_size=32,
    total_memory=80 * 2**30,
)
"""The card that the compiler plans for."""


class _Driver:
    """What Triton asks before it translates a kernel."""

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 10 * PROPERTIES.major + PROPERTIES.minor, PROPERTIES.warp_size)


@contextmanager
def pretended_card() -> Iterator[None]:
    """Let torch and its compiler plan for a card that is not there; nothing can run on it."""
    from triton.runtime import driver

    properties = staticmethod(lambda *_, **__: PROPERTIES)
    with ExitStack() as stack:
        for target, name, value in (
            (torch.cuda, "get_device_properties", lambda *_, **__: PROPERTIES),
            (torch.cuda, "get_device_capability", lambda *_, **__: (PROPERTIES.major, PROPERTIES.minor)),
            (torch.cuda, "current_device", lambda: 0),
            (torch.cuda, "is_bf16_supported", lambda *_, **__: True),
            (torch.cuda.amp.common, "amp_definitely_not_available", lambda: False),
            (CudaInterface, "get_device_properties", properties),
            (CudaInterface.Worker, "get_device_properties", properties),
            (CudaInterface, "get_compute_capability", staticmethod(lambda *_, **__: 90)),
            (CudaInterface, "is_bf16_supported", staticmethod(lambda *_, **__: True)),
            (torch._inductor.scheduler, "has_triton", lambda: True),
            (driver, "_active", _Driver()),
        ):
            stack.enter_context(mock.patch.object(target, name, value))
        # folding computes constants on the card
        stack.enter_context(config.patch(joint_graph_constant_folding=False, fx_graph_cache=False))
        yield


def without_data(module: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """Replace the weights of a module, in place, by tensors without data on the card."""
    for part in module.modules():
        for name, weight in part._parameters.items():
            if weight is not None:
                part._parameters[name] = nn.Parameter(like(weight, mode), requires_grad=weight.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = like(buffer, mode)
    return module


def like(tensor: Tensor, mode: FakeTensorMode) -> Tensor:
    """A tensor without data on the card."""
    with mode:
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=CARD)


class GraphCost:
    """Cost of one compiled graph, for any numbers of nodes and edges.

    Parameters
    ----------
    graph : fx.GraphModule
        The graph.
    symbols : sequence, optional
        Its numbers of nodes and edges; by default its first two arguments.
    plan : Callable, optional
        Plan of the compiler for it.
    """

    def __init__(self, graph: fx.GraphModule, symbols: Sequence[Any] = (), plan: "Plan | None" = None) -> None:
        placeholders = graph.graph.find_nodes(op="placeholder")
        self.symbols = list(symbols) or [node.meta["val"].node.expr for node in placeholders[:2]]
        self.graph = graph
        self.products = [
            node for node in graph.graph.nodes if getattr(node.target, "_overloadpacket", None) in flop_registry
        ]
        self.plan = plan or schedule(graph)
        self._known: dict[tuple[int, int], tuple[Cost, list[Planned]]] = {}

    def __call__(self, nodes: int, edges: int) -> Cost:
        """Arithmetic of the graph; traffic and kernels of the compiler's plan for it."""
        return self.of(nodes, edges)[0]

    def of(self, nodes: int, edges: int) -> tuple[Cost, list["Planned"]]:
        """Cost, and the kernels of the plan."""
        if (nodes, edges) not in self._known:
            kernels = self.plan(dict(zip(self.symbols, (nodes, edges), strict=True)))
            self._known[nodes, edges] = total_of(kernels) + Cost(self.flops(nodes, edges)), kernels
        return self._known[nodes, edges]

    def flops(self, nodes: int, edges: int) -> float:
        """Floating-point operations of the matrix products."""
        total = 0.0
        for node in self.products:
            given = tree_map(lambda leaf: self.shape(leaf, nodes, edges), (node.args, node.kwargs))
            total += flop_registry[node.target._overloadpacket](  # type: ignore[union-attr]
                *given[0], **given[1], out_val=self.shape(node, nodes, edges)
            )
        return total

    def shape(self, leaf: Any, nodes: int, edges: int) -> Any:
        """Sizes of the tensor that a node makes; anything else as it is."""
        value = leaf.meta.get("val") if isinstance(leaf, fx.Node) else None
        return torch.Size(self.sizes(value, nodes, edges)) if isinstance(value, Tensor) else leaf

    def sizes(self, tensor: Tensor, nodes: int, edges: int) -> list[int]:
        """Sizes of a tensor for numbers of nodes and edges."""
        values = dict(zip(self.symbols, (nodes, edges), strict=True))
        return [size if isinstance(size, int) else int(size.node.expr.subs(values)) for size in tensor.shape]

    def results(self, nodes: int, edges: int) -> list[Tensor | None]:
        """Tensors without data such as the graph returns."""
        (found,) = self.graph.graph.output_node().args
        made: list[Tensor | None] = []
        for node in found:  # type: ignore[union-attr]
            value = node.meta["val"] if isinstance(node, fx.Node) else None
            # numbers are handed on too
            shape = self.sizes(value, nodes, edges) if isinstance(value, Tensor) else None
            made.append(None if shape is None else torch.empty(shape, dtype=value.dtype, device=value.device))
        return made


@dataclass(frozen=True)
class Planned:
    """A step of a plan: the kind of its kernels, the bytes they read and write, and how many are launched."""

    kind: str
    moved: float
    launches: int = 1


def total_of(kernels: Sequence[Planned]) -> Cost:
    """Traffic and number of kernels."""
    return Cost(0.0, sum(kernel.moved for kernel in kernels), sum(kernel.launches for kernel in kernels))


Plan = Callable[[Mapping[Any, int]], list[Planned]]
T = TypeVar("T")


class _Stop(Exception):
    """Ends the compiler; carries what was made of its state."""

    def __init__(self, found: Any) -> None:
        super().__init__("stopped")
        self.found = found


def schedule(graph: fx.GraphModule) -> Plan:
    """Let torch's compiler plan the kernels of a graph, without making code of them."""
    return planned(lambda: inductor(graph))


def planned(compile_: Callable[[], Any]) -> Plan:
    """Run the compiler until it has planned the kernels of a graph.

    The plan gives, for values of the symbols, the kernels with the bytes that the compiler counts for them.
    """
    return stopped(compile_, _plan)


def stopped(compile_: Callable[[], Any], make: Callable[[GraphLowering], T]) -> T:
    """Run the compiler until it has lowered a graph, and return what ``make`` makes of that, in place of code."""

    def stop(lowering: GraphLowering) -> None:
        raise _Stop(make(lowering))

    with mock.patch.object(GraphLowering, "compile_to_module", stop):
        try:
            compile_()
        except Exception as error:
            end = error if isinstance(error, _Stop) else _cause(error)
            if end is None:
                raise
            return end.found
    raise RuntimeError("the compiler ended without lowering a graph")


def _cause(error: BaseException) -> _Stop | None:
    found = getattr(error, "inner_exception", None) or error.__cause__ or error.__context__
    return found if isinstance(found, _Stop) else None


def _plan(lowering: GraphLowering) -> Plan:
    lowering.init_wrapper_code()
    lowering._update_scheduler()
    nodes = [node for node in lowering.scheduler.nodes if not isinstance(node, NopKernelSchedulerNode)]
    with V.set_graph_handler(lowering):
        kinds = [_kind(node) for node in nodes]
        launches = [_launches(node) for node in nodes]
        traffic = [traffic_of(node) for node in nodes]

    def plan(values: Mapping[Any, int]) -> list[Planned]:
        known: dict[Any, int] = {}

        def hint(expression: Any, *_: Any, **__: Any) -> int:
            if expression not in known:
                whole = lowering.sizevars.remove_precomputed_replacements(sympy.sympify(expression))
                known[expression] = int(whole.subs(values))
            return known[expression]

        with mock.patch.object(lowering.sizevars, "optimization_hint", hint), V.set_graph_handler(lowering):
            moved = [float(count(hint)) for count in traffic]
        return [Planned(*each) for each in zip(kinds, moved, launches, strict=True)]

    return plan


PART = "part"
"""Kind of the second and further results of a kernel, which are no kernels of their own."""
TOGETHER = "together"
"""Kind of small kernels that are launched together."""


def _kind(node: Any) -> str:
    if is_launch(node):
        return name_of(node)
    if isinstance(node, ExternKernelSchedulerNode):
        if isinstance(node.node, MultiOutput):
            return PART
        name = getattr(node.node, "python_kernel_name", None) or type(node.node).__name__
        return str(name).removeprefix("extern_kernels.")
    if isinstance(node, ForeachKernelSchedulerNode):
        return TOGETHER
    return "sums" if node.is_reduction() else "elementwise"


def _launches(node: Any) -> int:
    """Number of kernels that a node of the plan launches; kernels planned together may be divided again."""
    if isinstance(node, ForeachKernelSchedulerNode):
        scheduler = V.graph.scheduler
        scheduler.current_device = node.get_device()
        backend = scheduler.get_backend(scheduler.current_device)._triton_scheduling
        parts = backend.generate_combo_kernel_code(node.get_subkernel_nodes(), True, True, True, only_gen_src_code=True)
        return len(parts)
    return int(_kind(node) != PART)


class Lowering:
    """Counts what compiled code does, in place of making it.

    Attributes
    ----------
    total : Cost
        Of what has run so far.
    where : str
        Name for the graphs that are compiled from now on; they are numbered besides.
    runs : list
        Name, cost and kernels of every graph that has run since :meth:`reset`.
    """

    def __init__(self) -> None:
        self.total, self.where, self.graphs, self.counts = Cost(), "", Counter[str](), False
        self.runs: list[tuple[str, Cost, list[Planned]]] = []

    def reset(self) -> None:
        """Count what runs from now on."""
        self.total, self.runs, self.counts = Cost(), [], True

    def __call__(self, graph: fx.GraphModule) -> Callable[..., Sequence[Tensor | None]]:
        cost, where = GraphCost(graph), self.where
        self.graphs[where] += 1
        where = f"{where} {self.graphs[where]}"

        def run(nodes: int, edges: int, *_: Tensor) -> Sequence[Tensor | None]:
            if self.counts:
                found, kernels = cost.of(nodes, edges)
                self.total += found
                self.runs.append((where, found, kernels))
            return cost.results(nodes, edges)

        return run
