"""How long do the hot operations take alone, native kernels beside plain torch?

Inputs are captured from a real evaluation of liquid water. Forward without a tape; first derivatives with respect to
everything the operation reads, weights excluded, as forces need them; second derivatives, of their squares with
respect to inputs and weights, as training needs them. Each time includes the passes before it.
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
from deepmd_dpa4.graph.edges import EdgeFeatures
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from deepmd_dpa4.descriptor.convolution import SO2Convolution
from deepmd_dpa4.nn.feedforward import GridFeedForward
from deepmd_dpa4.nn.grid_product import MessageNodeProduct

if TYPE_CHECKING:
    from worker import Worker


class Operation(NamedTuple):
    """A method of the first module of a kind in the network."""

    kind: type[nn.Module]
    method: str = "forward"


OPERATIONS = {
    "edge geometry": Operation(EdgeFeatures),
    "sums over edges of a block": Operation(SO2Convolution, "sum_edges"),
    "message-node product": Operation(MessageNodeProduct),
    "feed-forward on a grid": Operation(GridFeedForward),
}


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


def measured(worker: Worker, run: Callable[[Call], Any], call: Call) -> dict[str, float]:
    """Seconds and the yardstick just before."""
    return worker.yardstick() | {"seconds": worker.time(lambda: run(call))}


def capture(worker: Worker, params: dict[str, Any], spec: systems.Spec, operation: Operation) -> Call | None:
    """First call of an operation in one evaluation; None where the network has no such module."""
    with tempfile.TemporaryDirectory() as folder:
        worker.build(OURS, params, str(Path(folder) / "weights.pt"))
    assert worker.model is not None
    module = next((module for module in worker.model.modules() if isinstance(module, operation.kind)), None)
    if module is None:
        return None
    method = getattr(module, operation.method)
    calls: list[Call] = []

    def keep(*inputs: Any) -> Any:
        calls.append(Call(module, method, pytree.tree_map(leaf, inputs)))
        return method(*inputs)

    setattr(module, operation.method, keep)
    worker.system(spec)
    worker.step("energy and forces")
    delattr(module, operation.method)
    return calls[0]


def leaf(value: Any) -> Any:
    """An input cut from the tape."""
    if isinstance(value, Tensor):
        return value.detach().clone().requires_grad_(value.is_floating_point())
    return value


if __name__ == "__main__":
    main()
