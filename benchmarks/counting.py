"""What a step costs, counted on tensors without data: arithmetic, memory traffic, kernels, and what history keeps."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest import mock

import sympy
import torch
import torch._inductor.scheduler
from torch import Tensor, fx, nn
from torch._dynamo.device_interface import CudaInterface
from torch._inductor import config
from torch._inductor.graph import GraphLowering
from torch._inductor.ir import MultiOutput
from torch._inductor.scheduler import ExternKernelSchedulerNode, NopKernelSchedulerNode
from torch._inductor.virtualized import V
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.flop_counter import flop_registry

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
GATHERS = ("index_select", "gather", "index", "embedding")
SILENT = ("empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided", "detach", "lift_fresh", "alias")
"""Operators that start no kernel, besides views."""


@dataclass(frozen=True)
class Cost:
    """Floating-point operations of matrix products, bytes read and written, and kernels started."""

    flops: float = 0.0
    moved: float = 0.0
    kernels: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.flops + other.flops, self.moved + other.moved, self.kernels + other.kernels)


class Meter(TorchDispatchMode):
    """Counts operators as torch runs them one by one: each reads its arguments and writes its results."""

    def __init__(self) -> None:
        super().__init__()
        self.total = Cost()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.total += operator_cost(func, args, kwargs or {}, result)
        return result


def operator_cost(func: Any, args: Any, kwargs: Any, result: Any) -> Cost:
    """Cost of one operator that has run."""
    name = func._schema.name.split("::")[-1]
    outputs = [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, Tensor)]
    if func.is_view or name in SILENT or not outputs:
        return Cost()
    inputs = {id(leaf): leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)}
    written = sum(map(size_of, outputs))
    read = [size_of(leaf) for leaf in inputs.values()]
    if name in GATHERS:
        # a gather reads what it writes, not the whole table
        read[0] = min(read[0], written)
    formula = flop_registry.get(func._overloadpacket)
    flops = formula(*args, **kwargs, out_val=result) if formula else 0
    return Cost(float(flops), float(written + sum(read)), 1)


def size_of(tensor: Tensor) -> int:
    """Bytes of the elements of a tensor; those along an expanded axis are there once."""
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= size if stride != 0 else 1
    return count * tensor.element_size()


class Kept:
    """Bytes of the storages that history keeps, weights aside."""

    def __init__(self, module: nn.Module) -> None:
        self.known = {_storage(tensor) for tensor in [*module.parameters(), *module.buffers()]}
        self.alive: list[Tensor] = []
        self.bytes = 0

    def pack(self, tensor: Tensor) -> Tensor:
        key = _storage(tensor)
        if key not in self.known:
            self.known.add(key)
            self.alive.append(tensor)
            self.bytes += tensor.untyped_storage().nbytes()
        return tensor

    def hooks(self) -> Any:
        """Count what is kept in this context."""
        return torch.autograd.graph.saved_tensors_hooks(self.pack, lambda tensor: tensor)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


@contextmanager
def pretended_card() -> Iterator[None]:
    """Let torch and its compiler plan for a card that is not there; nothing can run on it."""
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
            (torch._inductor.scheduler, "has_triton", lambda: True),
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
    """Cost of one compiled graph, for any numbers of nodes and edges."""

    def __init__(self, graph: fx.GraphModule) -> None:
        placeholders = graph.graph.find_nodes(op="placeholder")
        self.symbols = [node.meta["val"].node.expr for node in placeholders[:2]]
        self.graph = graph
        self.products = [
            node for node in graph.graph.nodes if getattr(node.target, "_overloadpacket", None) in flop_registry
        ]
        self.plan = schedule(graph)

    def __call__(self, nodes: int, edges: int) -> Cost:
        """Arithmetic of the graph; traffic and kernels of the compiler's plan for it."""
        moved, kernels = self.plan(dict(zip(self.symbols, (nodes, edges), strict=True)))
        return Cost(self.flops(nodes, edges), moved, kernels)

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
            shape = None if value is None else self.sizes(value, nodes, edges)
            made.append(None if shape is None else torch.empty(shape, dtype=value.dtype, device=value.device))
        return made


Plan = Callable[[dict[Any, int]], tuple[float, int]]


class _Planned(Exception):
    """The compiler has planned the kernels of a graph; carries the plan."""

    def __init__(self, plan: Plan) -> None:
        super().__init__("planned")
        self.plan = plan


def schedule(graph: fx.GraphModule) -> Plan:
    """Let torch's compiler plan the kernels of a graph, without making code of them.

    The plan gives, for values of the symbols, the bytes that the compiler counts for its kernels, and their number.
    """
    with mock.patch.object(GraphLowering, "compile_to_module", _stop):
        try:
            inductor(graph)
        except Exception as error:
            planned = error if isinstance(error, _Planned) else _cause(error)
            if planned is None:
                raise
            return planned.plan
    raise RuntimeError("the compiler ended without a plan")


def _cause(error: BaseException) -> _Planned | None:
    found = getattr(error, "inner_exception", None) or error.__cause__ or error.__context__
    return found if isinstance(found, _Planned) else None


def _stop(lowering: GraphLowering) -> None:
    lowering._update_scheduler()
    nodes = [node for node in lowering.scheduler.nodes if not isinstance(node, NopKernelSchedulerNode)]
    kernels = [node for node in nodes if not _is_part(node)]

    def plan(values: dict[Any, int]) -> tuple[float, int]:
        def hint(expression: Any, *_: Any, **__: Any) -> int:
            expression = lowering.sizevars.remove_precomputed_replacements(sympy.sympify(expression))
            return int(expression.subs(values))

        with mock.patch.object(lowering.sizevars, "optimization_hint", hint), V.set_graph_handler(lowering):
            moved = sum(node.get_read_write_buffers_sizes_impl(True, True) for node in nodes)
        return float(moved), len(kernels)

    raise _Planned(plan)


def _is_part(node: Any) -> bool:
    return isinstance(node, ExternKernelSchedulerNode) and isinstance(node.node, MultiOutput)


class Lowering:
    """Counts what compiled code does, in place of making it.

    Attributes
    ----------
    total : Cost
        Of what has run so far.
    graphs : int
        Number of graphs compiled.
    """

    def __init__(self) -> None:
        self.total, self.graphs = Cost(), 0

    def __call__(self, graph: fx.GraphModule) -> Callable[..., Sequence[Tensor | None]]:
        cost = GraphCost(graph)
        self.graphs += 1

        def run(nodes: int, edges: int, *_: Tensor) -> Sequence[Tensor | None]:
            self.total += cost(nodes, edges)
            return cost.results(nodes, edges)

        return run
