"""How long do the hot operations take alone, native kernels beside plain torch?

Inputs are captured from a real evaluation of liquid water. Forward without a tape; first derivatives with respect to
everything the operation reads, weights excluded, as forces need them; second derivatives, of their squares with
respect to inputs and weights, as training needs them. Each time includes the passes before it.

The last rows are whole steps with all native kernels beside the same with one of them switched off: what each is worth.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import systems
import torch
from compare import OURS, Bench, parser, summary, take_turns
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from deepmd_dpa4.descriptor.convolution import SO2Convolution
from deepmd_dpa4.nn.feedforward import GridFeedForward
from deepmd_dpa4.nn.grid_product import MessageNodeProduct
from deepmd_dpa4.ops.backends import plain_class
from deepmd_dpa4.ops.bessel import EnvelopedBessel
from deepmd_dpa4.ops.edge_message import EdgeMessage
from deepmd_dpa4.ops.field_product import FieldProduct
from deepmd_dpa4.ops.matrix_product import Product
from deepmd_dpa4.ops.measure_edges import MeasureEdges
from deepmd_dpa4.ops.operation import Operation
from deepmd_dpa4.ops.outer_sum import OuterSum
from deepmd_dpa4.ops.pairs import Pairs
from deepmd_dpa4.ops.silu import Silu
from deepmd_dpa4.ops.softmax import EnvelopeSoftmax

if TYPE_CHECKING:
    from worker import Worker


class Measured(NamedTuple):
    """A method of the modules of a kind; its call with the largest inputs is taken."""

    kind: type[nn.Module]
    method: str = "forward"


OPERATIONS = {
    "edge geometry": Measured(MeasureEdges),
    "sums over edges of a block": Measured(SO2Convolution, "sum_edges"),
    "message-node product": Measured(MessageNodeProduct),
    "feed-forward on a grid": Measured(GridFeedForward),
    "matrix product": Measured(Product),
    "SiLU": Measured(Silu),
    "sum of the ends of edges": Measured(Pairs, "sum_of_ends"),
    "products of the ends of edges": Measured(Pairs, "products"),
    "outer sum": Measured(OuterSum),
    "soft maximum": Measured(EnvelopeSoftmax),
    "radial basis": Measured(EnvelopedBessel),
}
STEPS = ("energy and forces", "training step")

SWITCHED_OFF: dict[str, tuple[type[Operation], ...]] = {
    "edge geometry": (MeasureEdges,),
    "edge message": (EdgeMessage,),
    "products of fields": (FieldProduct,),
    "matrix product": (Product,),
    "SiLU": (Silu,),
    "matrix product, SiLU": (Product, Silu),
    "pairs": (Pairs,),
    "outer sum": (OuterSum,),
    "soft maximum": (EnvelopeSoftmax,),
    "radial basis": (EnvelopedBessel,),
}
"""Operations that run in plain torch while all others run native kernels."""


class Call(NamedTuple):
    """A method of a module and what it was called with; every floating-point input is a leaf."""

    module: nn.Module
    method: Callable[..., Any]
    inputs: tuple[Any, ...]

    @property
    def leaves(self) -> list[Tensor]:
        return [x for x in pytree.tree_leaves(self.inputs) if isinstance(x, Tensor) and x.is_floating_point()]

    def forward(self) -> list[Tensor]:
        """Floating-point outputs."""
        outputs = pytree.tree_leaves(self.method(*self.inputs))
        return [x for x in outputs if isinstance(x, Tensor) and x.is_floating_point() and x.requires_grad]

    def without_tape(self) -> None:
        with torch.no_grad():
            self.method(*self.inputs)

    def first(self, create_graph: bool = False) -> list[Tensor]:
        """Gradients of the sum of all outputs."""
        total = sum((x.sum() for x in self.forward()), torch.zeros(()))
        found = torch.autograd.grad(total, self.leaves, create_graph=create_graph, allow_unused=True)
        return [x for x in found if x is not None]

    def second(self) -> None:
        """Gradients of the squares of the first ones."""
        total = sum((x.square().sum() for x in self.first(create_graph=True) if x.requires_grad), torch.zeros(()))
        wanted = [*self.leaves, *(p for p in self.module.parameters() if p.requires_grad)]
        if total.requires_grad:  # not of a linear operation
            torch.autograd.grad(total, wanted, allow_unused=True)


PASSES: dict[str, Callable[[Call], Any]] = {
    "forward": Call.without_tape,
    "first derivatives": Call.first,
    "second derivatives": Call.second,
}


def main(arguments: list[str] | None = None) -> None:
    command = parser(__doc__)
    command.add_argument("--atoms", type=int, default=192, help="a multiple of 96")
    options = command.parse_args(arguments)
    bench = Bench("operators", __doc__, options)
    spec = systems.water(systems.CELL_ATOMS if options.quick else options.atoms)
    with bench.workers([OURS]) as workers:
        for name in options.models:
            models = {kernels: bench.model(name, OURS) | setting for kernels, setting in choices().items()}
            for operation in OPERATIONS:
                order = {"operation": operation, "models": models, "spec": spec, "repeats": options.repeats}
                found = workers[OURS].ask(do="call", function="operators:times", **order)
                for kind, results in found.items():
                    bench.add(f"{operation}, {kind}", name, systems.describe(spec), spec["atoms"], results)
            for step in STEPS:
                order = {"params": models["native"], "spec": spec, "step": step, "repeats": options.repeats}
                found = workers[OURS].ask(do="call", function="operators:switched_off", **order)
                for what, results in found.items():
                    bench.add(f"{step} without {what}", name, systems.describe(spec), spec["atoms"], results)


def choices() -> dict[str, dict[str, str]]:
    """Settings of the model section to compare, plain torch last."""
    return {kernels: {"kernels": kernels} for kernels in ("native", "plain")}


def times(worker: Worker, operation: str, models: dict[str, Any], spec: systems.Spec, repeats: int) -> dict[str, Any]:
    """Times of each pass with each setting, which take turns; runs in the worker."""
    calls = {setting: capture(worker, params, spec, OPERATIONS[operation]) for setting, params in models.items()}
    found = {}
    for kind, run in PASSES.items():
        once = {setting: partial(measured, worker, run, call) for setting, call in calls.items() if call is not None}
        for warm_up in once.values():
            warm_up()
        runs = take_turns(once, repeats)
        if runs:
            found[kind] = {setting: summary(values) for setting, values in runs.items()}
    return found


def switched_off(worker: Worker, params: dict[str, Any], spec: systems.Spec, step: str, repeats: int) -> dict[str, Any]:
    """Times of a step with all native kernels and without each of them, in turns; runs in the worker."""
    build(worker, params)
    worker.system(spec)
    assert worker.model is not None
    operations = [part for part in worker.model.modules() if isinstance(part, Operation)]

    def run(what: str) -> dict[str, float]:
        chosen = [part for part in operations if isinstance(part, SWITCHED_OFF.get(what, ()))]
        native = [type(part) for part in chosen]
        for part in chosen:
            part.__class__ = plain_class(type(part))
        result = worker.run(step)
        for part, kind in zip(chosen, native):
            part.__class__ = kind
        return {key: result[key] for key in ("seconds", "yardstick_gflops")}

    candidates = {what: partial(run, what) for what in ("nothing", *SWITCHED_OFF)}
    for warm_up in candidates.values():
        warm_up()
    found = {what: summary(values) for what, values in take_turns(candidates, repeats).items()}
    whole = found.pop("nothing")
    return {what: {"native": whole, "plain": result} for what, result in found.items()}


def measured(worker: Worker, run: Callable[[Call], Any], call: Call) -> dict[str, float]:
    """Seconds and the yardstick just before."""
    return worker.yardstick() | {"seconds": worker.time(lambda: run(call))}


def capture(worker: Worker, params: dict[str, Any], spec: systems.Spec, operation: Measured) -> Call | None:
    """The largest call of an operation in one evaluation; None where the network has no such module."""
    build(worker, params)
    assert worker.model is not None
    calls: list[Call] = []
    modules = [module for module in worker.model.modules() if isinstance(module, operation.kind)]
    for module in modules:
        setattr(module, operation.method, keeping(calls, module, getattr(module, operation.method)))
    worker.system(spec)
    worker.step("energy and forces")
    for module in modules:
        delattr(module, operation.method)
    return max(calls, key=lambda call: sum(x.numel() for x in call.leaves), default=None)


def keeping(calls: list[Call], module: nn.Module, method: Callable[..., Any]) -> Callable[..., Any]:
    """The same method, keeping its inputs."""

    def keep(*inputs: Any) -> Any:
        calls.append(Call(module, method, pytree.tree_map(leaf, inputs)))
        return method(*inputs)

    return keep


def build(worker: Worker, params: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        worker.build(OURS, params, str(Path(folder) / "weights.pt"))


def leaf(value: Any) -> Any:
    """An input cut from the tape."""
    if isinstance(value, Tensor):
        return value.detach().clone().requires_grad_(value.is_floating_point())
    return value


if __name__ == "__main__":
    main()
