"""The compiled graphs of DeePMD-kit's built-in DPA4, planned on a graphics card that is not there.

Its model is traced as it traces itself for training, energies and forces in one graph, and goes to torch's compiler
with the options that it gives; the compiler divides it into a forward and a backward graph. Neighbour search, loss and
optimiser are outside of these graphs and are not counted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor, fx, nn
from torch._guards import TracingContext, tracing
from torch._inductor import config
from torch._inductor.compile_fx import compile_fx, compile_fx_inner
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from benchmarks.counting import Cost
from benchmarks.planning import CARD, GraphCost, planned, pretended_card
from benchmarks.without_card import python_engine
from deepmd_dpa4.compiled.trace import EDGES, NODES, Spec, spec_of, trace
from deepmd_dpa4.tools.presets.sizes import FITTING, SIZES


@dataclass(frozen=True)
class Graphs:
    """Graphs of a step in the order in which they run, and the number of tensors that the first returns."""

    costs: list[GraphCost]
    returned: int

    def cost(self, nodes: int, edges: int) -> Cost:
        """Cost of the step."""
        return sum((cost(nodes, edges) for cost in self.costs), Cost())

    def kept(self, nodes: int, edges: int) -> int:
        """Bytes that the first graph makes for the second."""
        if len(self.costs) < 2:
            return 0
        with FakeTensorMode():
            made = self.costs[0].results(nodes, edges)[self.returned :]
        return sum(tensor.untyped_storage().nbytes() for tensor in made if tensor is not None)


class _Step(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        made = self.model.core_compute(*arguments)  # type: ignore[operator]
        return tuple(made.values())


def build(name: str) -> Any:
    """Build a published network for one element by DeePMD-kit's own code."""
    from deepmd_dpa4.host import builtin

    descriptor = SIZES[name].descriptor() | {"type": "dpa4", "sel": 120, "seed": 1, "precision": "float32"}
    return builtin.build({"type_map": ["C"], "descriptor": descriptor, "fitting_net": dict(FITTING) | {"seed": 1}})


def plan(name: str, training: bool) -> Graphs:
    """Trace a published network, and let the compiler plan its graphs."""
    from deepmd.pt.utils import compile_compat, env

    model = build(name).train(training)
    for part in model.modules():
        if hasattr(part, "device"):
            part.device = CARD
        for name, value in list(vars(part).items()):
            if isinstance(value, Tensor):
                # tensors that are neither weights nor buffers would stay behind
                delattr(part, name)
                part.register_buffer(name, value, persistent=False)
    with pretended_card(), python_engine(), mock.patch.object(env, "DEVICE", CARD):
        traced, returned = _trace(model, training)
        if training:
            compile_compat.strip_saved_tensor_detach(traced)
            traced = compile_compat.rebuild_graph_module(traced)
        with config.patch(compile_compat.build_inductor_compile_options(inference=not training)):
            return Graphs(_plans(traced, training), returned)


def _trace(model: nn.Module, training: bool) -> tuple[fx.GraphModule, int]:
    root = _Step(model)
    weights = dict(root.named_parameters()) | dict(root.named_buffers())
    whole, real = torch.int64, torch.float64
    given = [
        Spec((1, NODES, 3), real, CARD),
        Spec((1, NODES), whole, CARD),
        Spec((2, EDGES), whole, CARD),
        Spec((EDGES, 3), real, CARD),
        Spec((2, EDGES), whole, CARD),
        Spec((EDGES,), torch.bool, CARD),
    ]
    wanted = [name for name, weight in root.named_parameters() if weight.requires_grad]
    returned = 0

    def step(nodes: int, edges: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        nonlocal returned
        exchanged = dict(zip(weights, tensors[len(given) :], strict=True))
        for name in wanted:
            exchanged[name].requires_grad_(training)
        made = torch.func.functional_call(root, exchanged, tensors[: len(given)])
        returned = len(made)
        return made

    specs = [spec_of(weight, "-" * weight.dim()) for weight in weights.values()]
    traced = trace(step, given + [Spec(spec.shape, spec.dtype, CARD) for spec in specs])
    for node, weight in zip(traced.graph.find_nodes(op="placeholder")[2 + len(given) :], weights.values(), strict=True):
        node.meta["val"].requires_grad_(training and weight.requires_grad)
    return traced, returned


def _plans(traced: fx.GraphModule, training: bool) -> list[GraphCost]:
    """Costs of the graphs that the compiler makes of one."""
    inputs = [node.meta["val"] for node in traced.graph.find_nodes(op="placeholder")]
    symbols = [size.node.expr for size in inputs[:2]]
    mode = next(value.fake_mode for value in inputs if isinstance(value, FakeTensor))
    found: list[GraphCost] = []

    def inner(graph: fx.GraphModule, arguments: Sequence[Any], **keywords: Any) -> Callable[..., Any]:
        found.append(GraphCost(graph, symbols, planned(lambda: compile_fx_inner(graph, arguments, **keywords))))
        return lambda *_: None

    with tracing(TracingContext(mode)), torch.set_grad_enabled(training):
        compile_fx(traced, inputs, inner_compile=inner)
    return found
