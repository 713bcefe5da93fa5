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

from deepmd_dpa4.descriptor import convolution
from deepmd_dpa4.descriptor.convolution import SO2Convolution
from deepmd_dpa4.descriptor.embedding import EnvironmentSeed, GeometricEmbedding
from deepmd_dpa4.descriptor.network import Network
from deepmd_dpa4.graph.edges import EdgeFeatures
from deepmd_dpa4.nn.activation import Activation
from deepmd_dpa4.nn.feedforward import GridFeedForward
from deepmd_dpa4.nn.grid_product import GridProduct, MessageNodeProduct
from deepmd_dpa4.ops.pairs import Pairs
from deepmd_dpa4.ops.product import Product
from deepmd_dpa4.ops.segment import envelope_softmax

if TYPE_CHECKING:
    from worker import Worker


class Operation(NamedTuple):
    """A method of the modules of a kind; its call with the largest inputs is taken."""

    kind: type[nn.Module]
    method: str = "forward"


OPERATIONS = {
    "edge geometry": Operation(EdgeFeatures),
    "sums over edges of a block": Operation(SO2Convolution, "sum_edges"),
    "message-node product": Operation(MessageNodeProduct),
    "feed-forward on a grid": Operation(GridFeedForward),
    "matrix product": Operation(Product),
    "SiLU": Operation(Activation),
    "sum of the ends of edges": Operation(Pairs, "sum_of_ends"),
    "products of the ends of edges": Operation(Pairs, "products"),
    "outer sum": Operation(EnvironmentSeed, "sum_edges"),
    "attention": Operation(SO2Convolution, "attention"),
    "radial basis": Operation(Network, "enveloped_basis"),
}
STEPS = ("energy and forces", "training step")

Change = tuple[Any, str, Any]
"""An attribute of an object and a value that keeps a native kernel from being used."""


def changes(model: nn.Module) -> dict[str, list[Change]]:
    """For each native kernel what switches it off."""

    def of(kind: type[nn.Module], name: str = "native", value: bool = False) -> list[Change]:
        return [(module, name, value) for module in model.modules() if isinstance(module, kind)]

    return {
        "edge geometry": of(EdgeFeatures),
        "edge message": [*of(SO2Convolution, "covered"), *of(EdgeFeatures, "dense", True)],
        "products of fields": of(GridProduct, "coupled"),
        "matrix product": of(Product),
        "SiLU": of(Activation),
        "matrix product, SiLU": [*of(Product), *of(Activation)],
        "pairs": of(Pairs),
        "outer sum": [*of(EnvironmentSeed), *of(GeometricEmbedding)],
        "softmax": [(convolution, "native_envelope_softmax", plain_softmax)],
        "radial basis": of(Network, "bessel"),
    }


def plain_softmax(logits: Tensor, weight: Tensor, null_mass: Tensor, receiver: Tensor, n_receivers: int) -> Tensor:
    """In the place of the native one."""
    return envelope_softmax(logits, weight, None, null_mass, receiver, n_receivers)


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
    without = {what: found for what, found in changes(worker.model).items() if found}

    def run(what: str) -> dict[str, float]:
        kept = [(target, name, getattr(target, name)) for target, name, _ in without.get(what, [])]
        for target, name, value in without.get(what, []):
            setattr(target, name, value)
        result = worker.run(step)
        for target, name, value in kept:
            setattr(target, name, value)
        return {key: result[key] for key in ("seconds", "yardstick_gflops")}

    candidates = {what: partial(run, what) for what in ("nothing", *without)}
    for warm_up in candidates.values():
        warm_up()
    found = {what: summary(values) for what, values in take_turns(candidates, repeats).items()}
    whole = found.pop("nothing")
    return {what: {"native": whole, "plain": result} for what, result in found.items()}


def measured(worker: Worker, run: Callable[[Call], Any], call: Call) -> dict[str, float]:
    """Seconds and the yardstick just before."""
    return worker.yardstick() | {"seconds": worker.time(lambda: run(call))}


def capture(worker: Worker, params: dict[str, Any], spec: systems.Spec, operation: Operation) -> Call | None:
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
