"""Compiled potentials compute what plain ones do, whatever the sizes, and compile each piece once."""

import copy
import logging
import pickle

import pytest
import torch
from torch import Tensor, fx

from deepmd_dpa4.compiled.energies import CompiledEnergies
from deepmd_dpa4.compiled.lower import Run, inductor
from deepmd_dpa4.config.model import LowRankConfig
from deepmd_dpa4.descriptor.low_rank import adapt
from deepmd_dpa4.model.potential import Potential
from tests.support.frames import Frame, axis_frame, close_pair_frame, cluster_frame, frame, triclinic_frame
from tests.support.models import active_potential, graph_of, relative_error
from tests.support.options import CONTACTS, MINI, ONE_BLOCK, TINY, Options

STAGES, GRAPHS = 4, 4
"""Edges, nodes, blocks, energies; value, pullback for forces, pullback with weights, second derivative."""

CASES: dict[str, tuple[Options, dict[str, object]]] = {
    "products of fields": (MINI | {"channels": 8, "n_radial": 4, "mixing_layers": 2}, {}),
    "streams, heads, biases, bridging": (
        TINY
        | {"n_focus": 2, "n_atten_head": 2, "mlp_bias": True, "edge_norm": True, "n_blocks": 3, "mixing_layers": 1},
        {"bridging": (0.8, 1.1)},
    ),
}
FRAMES = [triclinic_frame(), cluster_frame(), axis_frame(), close_pair_frame()]


class Counting:
    """Runs graphs operator by operator, and counts them."""

    def __init__(self) -> None:
        self.graphs: list[fx.GraphModule] = []

    def __call__(self, graph: fx.GraphModule) -> Run:
        self.graphs.append(graph)
        return graph


def train_step(potential: Potential, system: Frame) -> dict[str, Tensor]:
    """Results, and the gradients of a loss of all of them by all parameters."""
    potential.zero_grad()
    out = potential(graph_of(system), 1)
    sum(out[name].square().sum() for name in ("energy", "force", "virial")).backward()
    gradients = {name: p.grad for name, p in potential.named_parameters() if p.grad is not None}
    return {name: out[name].detach() for name in ("energy", "force", "virial")} | gradients


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-10) -> None:
    """Each entry within the tolerance of its largest element, or of 1e-4 of the largest of all: some only round."""
    floor = 1e-4 * max(float(value.abs().max()) for value in expected.values())
    for name in expected.keys() | found.keys():
        one, other = found.get(name), expected.get(name)
        # a weight that has no influence may have a gradient of zeros or none
        one, other = (torch.zeros(1) if value is None else value for value in (one, other))
        assert (one - other).abs().max() < tolerance * max(float(other.abs().max()), floor), name


SLOW = [pytest.param(case, id=name, marks=pytest.mark.slow) for name, case in CASES.items()]


@pytest.fixture(scope="module", params=SLOW)
def compiled(request: pytest.FixtureRequest) -> tuple[Potential, Counting, list[dict[str, Tensor]]]:
    """A potential that has been trained on systems of all sizes, its graphs, and what the plain one found."""
    options, keywords = request.param
    potential = active_potential(options, **keywords).train()
    expected = [train_step(potential, system) for system in FRAMES]
    lowering = Counting()
    potential.compiled = CompiledEnergies(lowering)
    train_step(potential, FRAMES[0])
    return potential, lowering, expected


def test_energies_forces_and_gradients(compiled: tuple[Potential, Counting, list[dict[str, Tensor]]]) -> None:
    potential, lowering, expected = compiled
    count = len(lowering.graphs)
    for system, reference in zip(FRAMES, expected, strict=True):
        assert_same(train_step(potential, system), reference)
    assert len(lowering.graphs) == count, "something was compiled again for another size"


@pytest.mark.slow
def test_energies_of_isolated_atoms() -> None:
    """They are trained too, and compiled code reads what plain torch makes of them."""
    options = TINY | ONE_BLOCK | {"use_env_seed": False}
    potential = active_potential(options, fitting={"vacuum_ref": True}, bridging=CONTACTS).train()
    expected = train_step(potential, FRAMES[1])
    lowering = Counting()
    potential.compiled = CompiledEnergies(lowering)
    assert_same(train_step(potential, FRAMES[1]), expected)
    assert not potential.compiled.failed and lowering.graphs


def test_blocks_share_their_code(compiled: tuple[Potential, Counting, list[dict[str, Tensor]]]) -> None:
    potential, lowering, _ = compiled
    # without a read-out network for l > 0 the last block computes scalars alone
    special = potential.descriptor.blocks[-1].scalar_output
    assert len(lowering.graphs) == GRAPHS * (STAGES + special)


def test_models_share_code_but_not_weights(compiled: tuple[Potential, Counting, list[dict[str, Tensor]]]) -> None:
    potential, lowering, _ = compiled
    other = copy.deepcopy(potential)
    assert other.compiled is not potential.compiled
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.1)
    count = len(lowering.graphs)
    found = train_step(other, FRAMES[0])
    other.compiled = None
    assert_same(found, train_step(other, FRAMES[0]))
    assert len(lowering.graphs) == count


def test_evaluation_runs_the_code_of_training(compiled: tuple[Potential, Counting, list[dict[str, Tensor]]]) -> None:
    potential, lowering, expected = compiled
    count = len(lowering.graphs)
    potential.eval()
    try:
        out = potential(graph_of(FRAMES[1]), 1)
    finally:
        potential.train()
    assert not out["energy"].requires_grad
    names = ("energy", "force", "virial")
    assert_same({name: out[name] for name in names}, {name: expected[1][name] for name in names})
    assert len(lowering.graphs) == count


@pytest.mark.parametrize(
    "system",
    [frame([[0, 0, 0]], [0]), frame([[0, 0, 0], [50, 0, 0]], [0, 1]), frame([[0, 0, 0], [1, 0, 0]], [0, 1])],
    ids=["one atom", "no edge", "one pair"],
)
def test_smallest_systems(compiled: tuple[Potential, Counting, list[dict[str, Tensor]]], system: Frame) -> None:
    potential = compiled[0]
    found = train_step(potential, system)
    plain = copy.deepcopy(potential)
    plain.compiled = None
    assert_same(found, train_step(plain, system))


def test_sizes_that_run_plain_are_told_once(
    compiled: tuple[Potential, Counting, list[dict[str, Tensor]]], caplog: pytest.LogCaptureFixture
) -> None:
    potential, lowering, _ = compiled
    before, potential.compiled = potential.compiled, CompiledEnergies(lowering)
    try:
        with caplog.at_level(logging.INFO):
            for distance in (40.0, 50.0):
                potential(graph_of(frame([[0, 0, 0], [distance, 0, 0]], [0, 1])), 1)
    finally:
        potential.compiled = before
    said = [record.getMessage() for record in caplog.records if record.name == "deepmd.dpa4"]
    assert said == ["compiled code does not serve 2 atoms with 0 edges: such systems run without it"]


def test_large_systems_are_evaluated_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepmd_dpa4.compiled.energies.MOST_EDGES", 10)
    potential, lowering = active_potential(TINY), Counting()
    expected = potential(graph_of(FRAMES[0]), 1)["force"]
    potential.compiled = CompiledEnergies(lowering)
    assert torch.equal(potential(graph_of(FRAMES[0]), 1)["force"], expected)
    assert not lowering.graphs


def test_gradients_of_forces_in_pieces(compiled: tuple[Potential, Counting, list[dict[str, Tensor]]]) -> None:
    potential = compiled[0]
    plain = copy.deepcopy(potential)
    plain.compiled = None

    def mixed(model: Potential) -> Tensor:
        weight = model.descriptor.blocks[0].so2_conv.pre_focus_mix.weight
        energy = model(graph_of(FRAMES[1]), 1)["energy"].sum()
        (first,) = torch.autograd.grad(energy, weight, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), weight)
        return second

    assert relative_error(mixed(potential), mixed(plain)) < 1e-10


def test_nothing_is_added_to_checkpoints(compiled: tuple[Potential, Counting, list[dict[str, Tensor]]]) -> None:
    potential = compiled[0]
    plain = active_potential(TINY)
    with_code = copy.deepcopy(plain)
    with_code.compiled = CompiledEnergies()
    assert with_code.state_dict().keys() == plain.state_dict().keys()
    assert not [name for name, _ in potential.named_modules() if "compiled" in name]
    restored = pickle.loads(pickle.dumps(CompiledEnergies()))
    assert restored.lowering is inductor and not restored.failed


def keeps(potential: Potential, system: Frame) -> int:
    """Bytes that autograd keeps for the backward pass of a training step, weights aside."""
    weights = {p.untyped_storage().data_ptr() for p in [*potential.parameters(), *potential.buffers()]}
    kept: dict[int, int] = {}
    alive = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        potential(graph_of(system), 1)
    return sum(kept.values())


def test_little_is_kept_for_the_backward_pass(compiled: tuple[Potential, Counting, list[dict[str, Tensor]]]) -> None:
    potential = compiled[0]
    plain = copy.deepcopy(potential)
    plain.compiled = None
    assert 4 * keeps(potential, FRAMES[0]) < keeps(plain, FRAMES[0])


def test_failure_is_told_once_and_harmless(caplog: pytest.LogCaptureFixture) -> None:
    def failing(graph: fx.GraphModule) -> Run:
        raise RuntimeError("no compiler here\nand more of it")

    potential = active_potential(TINY).train()
    expected = train_step(potential, FRAMES[0])
    potential.compiled = CompiledEnergies(failing)
    with caplog.at_level(logging.WARNING):
        assert_same(train_step(potential, FRAMES[0]), expected)
        assert_same(train_step(potential, FRAMES[0]), expected)
    assert [record.getMessage() for record in caplog.records] == [
        "compilation failed, the model runs without it: RuntimeError: no compiler here"
    ]


@pytest.mark.slow
def test_low_rank_adapters_are_followed() -> None:
    potential = active_potential(TINY | ONE_BLOCK)
    potential.compiled = CompiledEnergies(Counting())
    before = potential(graph_of(FRAMES[1]), 1)["force"]
    adapt(potential.descriptor, LowRankConfig(rank=2))
    with torch.no_grad():
        for parameter in potential.parameters():
            parameter.add_(0.1)
    found = potential(graph_of(FRAMES[1]), 1)["force"]
    potential.compiled = None
    assert relative_error(found, potential(graph_of(FRAMES[1]), 1)["force"]) < 1e-10
    assert relative_error(found, before) > 1e-3


@pytest.mark.slow
def test_bfloat16_blocks() -> None:
    # the package switches mixed precision on for CUDA alone
    options = TINY | ONE_BLOCK | {"precision": "float32"}
    potential = active_potential(options, noise=0.1, dtype=torch.float32).train()
    full = train_step(potential, FRAMES[0])
    potential.descriptor.mixed_precision = lambda device: True
    expected = train_step(potential, FRAMES[0])
    potential.compiled = CompiledEnergies(Counting())
    found = train_step(potential, FRAMES[0])
    assert_same(found, expected, 0.02)
    # rounding differs in the backward pass: torch has another formula where gradients are to be differentiated
    assert relative_error(found["force"], expected["force"]) < 0.5 * relative_error(full["force"], expected["force"])
