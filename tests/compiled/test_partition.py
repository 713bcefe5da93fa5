"""Compiled code that keeps what it computed gives the same numbers, does less, and keeps as much as it says."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from deepmd_dpa4.compiled.energies import CompiledEnergies
from deepmd_dpa4.compiled.partition import Bytes, cut
from deepmd_dpa4.compiled.segment import Budget
from deepmd_dpa4.compiled.trace import EDGES, Spec, program_of
from deepmd_dpa4.model.potential import Potential
from tests.compiled.test_energies import FRAMES, Counting, assert_same, train_step
from tests.support.models import active_potential, graph_of
from tests.support.options import ONE_BLOCK, TINY

pytestmark = pytest.mark.slow
ALL = 10.0
"""Gigabytes, more than these systems need."""


@pytest.fixture(scope="module")
def potential() -> Potential:
    return active_potential(TINY | ONE_BLOCK | {"message_node_so3": True}).train()


@pytest.fixture(scope="module")
def expected(potential: Potential) -> list[dict[str, Tensor]]:
    potential.compiled = None
    return [train_step(potential, system) for system in FRAMES]


@pytest.fixture(scope="module")
def keeping() -> CompiledEnergies:
    return CompiledEnergies(Counting(), ALL)


class Products(TorchDispatchMode):
    """Counts floating point operations of products; torch's own counter cannot follow gradients of gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        count = flop_registry.get(function._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=found)
        return found


def test_energies_forces_and_gradients(
    potential: Potential, keeping: CompiledEnergies, expected: list[dict[str, Tensor]]
) -> None:
    potential.compiled = keeping
    for system, reference in zip(FRAMES, expected, strict=True):
        assert_same(train_step(potential, system), reference)
    assert not keeping.failed


def test_part_of_the_units(potential: Potential, keeping: CompiledEnergies, expected: list[dict[str, Tensor]]) -> None:
    """Memory for some units only; the others recompute."""
    potential.compiled = CompiledEnergies(keeping.lowering, 1e-4)
    taken: list[bool] = []
    take = Budget.take
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Budget, "take", lambda self, size: taken.append(take(self, size)) or taken[-1])
        for system, reference in zip(FRAMES, expected, strict=True):
            assert_same(train_step(potential, system), reference)
    assert set(taken) == {True, False}


def test_evaluation(potential: Potential, keeping: CompiledEnergies, expected: list[dict[str, Tensor]]) -> None:
    potential.compiled = keeping
    potential.eval()
    try:
        out = potential(graph_of(FRAMES[0]), 1)
    finally:
        potential.train()
    names = ("energy", "force", "virial")
    assert_same({name: out[name] for name in names}, {name: expected[0][name] for name in names})


def test_products_are_made_once(potential: Potential, keeping: CompiledEnergies) -> None:
    """Floating point operations of a training step, beside those of plain torch and of code that recomputes."""
    counts = []
    for compiled in (None, keeping, CompiledEnergies(keeping.lowering, 0.0)):
        potential.compiled = compiled
        train_step(potential, FRAMES[0])
        with Products() as counter:
            train_step(potential, FRAMES[0])
        counts.append(counter.total)
    plain, kept, recomputed = counts
    assert kept <= 1.1 * plain
    assert recomputed > 1.5 * kept


def test_arguments_of_products_are_made_once() -> None:
    """The product by W needs tanh(x) for its gradient; it is handed on, and its derivative reads it."""

    def layer(nodes: int, edges: int, x: Tensor, weight: Tensor) -> tuple[Tensor]:
        return (torch.tanh(x) @ weight,)

    device = torch.device("cpu")
    shapes = ((EDGES, 8), (8, 5))
    program, _ = program_of(layer, [Spec(shape, torch.float32, device) for shape in shapes])
    found = cut(program, (0,), (1,), training=True)
    made = [node.target for node in found.value.graph.nodes if node.op == "call_function"]
    assert torch.ops.aten.tanh.default in made
    for graph in (found.pullback, found.second, found.backward):
        assert graph is not None
        assert torch.ops.aten.tanh.default not in [node.target for node in graph.graph.nodes]
    # besides, the product with W in its pullback, which the gradient by x needs
    assert found.kept.edges == 2 * 8 * 4


def test_sizes_of_what_is_kept() -> None:
    assert Bytes(8, 40, 4).of(10, 100) == 4084
    budget = Budget(100)
    assert [budget.take(size) for size in (60, 60, 40, 1)] == [True, False, True, False]
