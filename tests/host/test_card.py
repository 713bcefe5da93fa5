"""Every door of a model computes on a graphics card what it computes on the CPU, with no tensor left behind there."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from deepmd_dpa4.compiled.energies import CompiledEnergies
from deepmd_dpa4.host.build import build_model
from deepmd_dpa4.host.compat import READS_CHARGE_SPIN
from deepmd_dpa4.inference.batched import Batched
from deepmd_dpa4.inference.structure import Structure
from deepmd_dpa4.model.potential import Potential
from tests.host.test_exchange import Engine
from tests.support import inputs
from tests.support.card import CARD, WrongDevice, card, from_card, to_card
from tests.support.frames import cluster_frame, triclinic_frame
from tests.support.models import NONE, active_potential, graph_of, scatter_of
from tests.support.options import AIR, CONTACTS, MINI, TINY, Options
from tests.support.weights import perturb

EXACT: inputs.Section = {"precision": "float64"}
RADII: inputs.Section = {"bridging_method": "zbl", "bridging_r_inner": 1.8, "bridging_r_outer": 2.6}
MODELS: dict[str, tuple[inputs.Section, inputs.Section, inputs.Section]] = {
    "common": (inputs.DESCRIPTOR, {}, {}),
    "bridging, excluded": (inputs.SMALL, {}, RADII | {"pair_exclude_types": [[1, 1]], "atom_exclude_types": [0]}),
    "conditions": (
        inputs.SMALL | {"add_chg_spin_ebd": READS_CHARGE_SPIN},
        {"numb_fparam": 2, "numb_aparam": 1},
        {},
    ),
    "isolated atoms": (inputs.SMALL | {"basis_type": "gaussian"}, {"vacuum_ref": True}, {}),
}
POTENTIALS: dict[str, tuple[Options, dict[str, Any]]] = {
    "products of fields": (MINI | {"channels": 8, "n_radial": 4}, {}),
    "streams, heads, biases": (
        AIR | {"channels": 8, "n_radial": 4, "n_focus": 2, "n_atten_head": 2, "mlp_bias": True, "n_blocks": 2},
        {},
    ),
    "bridging": (TINY, {"bridging": CONTACTS}),
    "isolated atoms": (TINY, {"fitting": {"vacuum_ref": True}}),
}
Results = dict[str, Tensor]


def same(found: Results, expected: Results) -> None:
    """The operations are the same; only gradients are summed in another order."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        found_value, limit = found[name], 1e-11 + 1e-9 * float(value.abs().max())
        assert found_value.shape == value.shape and found_value.dtype == value.dtype, name
        assert float((found_value - value).abs().max()) <= limit, name


def values(found: Results) -> Results:
    return {name: value.detach().clone() for name, value in found.items()}


@pytest.mark.parametrize(
    "use",
    [
        lambda there, here: there + here,
        lambda there, here: there.index_select(0, here.long()),
        lambda there, here: torch.cat([there, here]),
        lambda there, here: torch.zeros(3).index_add(0, there.long(), there),
    ],
)
def test_a_tensor_left_behind_is_found(use: Callable[[Tensor, Tensor], Tensor]) -> None:
    here = torch.tensor([0.0, 1.0, 2.0])
    with card():
        there = here.to(CARD)
        with pytest.raises(WrongDevice, match="is given tensors of the CPU"):
            use(there, here)


def test_numbers_are_those_of_the_cpu() -> None:
    with card():
        there = torch.arange(3, device=CARD, dtype=torch.float64).requires_grad_(True)
        (gradient,) = torch.autograd.grad((there**3).sum(), [there], create_graph=True)
        (second,) = torch.autograd.grad((gradient * torch.tensor(2.0, dtype=torch.float64)).sum(), [there])
        assert there.device == CARD and there.is_cuda
        assert from_card(second).tolist() == [0.0, 12.0, 24.0]


@pytest.mark.parametrize("name", POTENTIALS)
def test_training_step_of_a_potential(name: str) -> None:
    options, keywords = POTENTIALS[name]
    potential, system = active_potential(options, **keywords).train(), graph_of(triclinic_frame())
    expected = _train_step(potential, system)
    with card():
        potential.to(CARD)
        found = from_card(_train_step(potential, to_card(system)))
    same(found, expected)


def _train_step(potential: Potential, system: Any) -> Results:
    potential.zero_grad()
    out = potential(system, 1)
    sum(out[name].square().sum() for name in ("energy", "force", "virial")).backward()
    return values(out | {name: p.grad for name, p in potential.named_parameters() if p.grad is not None})


@pytest.mark.parametrize("name", ["streams, heads, biases", "bridging"])
def test_tiles(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of edges and nodes, and the larger ones of sums over edges."""
    monkeypatch.setattr("deepmd_dpa4.model.memory.available_bytes", lambda device: None)
    options, keywords = POTENTIALS[name]
    potential, system = active_potential(options, **keywords), graph_of(triclinic_frame())

    def run(graph: Any) -> Results:
        return potential.derive(graph, scatter_of(graph), 1, NONE, False, True, True, 60, True)

    expected = values(run(system))
    with card():
        potential.to(CARD)
        same(from_card(run(to_card(system))), expected)


@pytest.mark.slow
def test_compiled_stages() -> None:
    """Traced for a card, they are made of operations of the card alone, and give the numbers of plain torch."""
    graphs = []

    def lowering(graph: Any) -> Any:
        graphs.append(graph)
        return graph

    potential, system = active_potential(TINY | {"n_blocks": 1, "mixing_layers": 1}), graph_of(cluster_frame())
    expected = values(potential(system, 1))
    with card():
        potential.to(CARD)
        potential.compiled = CompiledEnergies(lowering, memory=1.0)
        found = from_card(values(potential(to_card(system), 1)))
        assert not potential.compiled.failed
    same(found, expected)
    devices = {node.meta["val"].device for graph in graphs for node in graph.graph.nodes if _is_tensor(node)}
    assert devices == {CARD}


def _is_tensor(node: Any) -> bool:
    return isinstance(node.meta.get("val"), Tensor)


def test_mixed_precision_is_for_training_on_a_card() -> None:
    """Blocks run in bfloat16 there, with frames turned at random, and nowhere else."""
    options = TINY | {"precision": "float32", "use_amp": True, "random_gamma": True}
    potential, system = active_potential(options, noise=0.1, dtype=torch.float32).train(), graph_of(triclinic_frame())
    expected = potential(system, 1)["force"].detach()
    with card():
        potential.to(CARD)
        found = from_card(potential(to_card(system), 1)["force"])
        evaluated = from_card(potential.eval()(to_card(system), 1)["force"])
    torch.testing.assert_close(evaluated, expected, rtol=1e-5, atol=1e-6)
    error = float((found - expected).abs().max() / expected.abs().max())
    assert 1e-4 < error < 0.1


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Any:
    descriptor, fitting, others = MODELS[request.param]
    made = build_model(inputs.model(descriptor | EXACT, fitting | EXACT, kernels="plain", **others)).eval()
    perturb(made, scale=0.3)
    return made


def conditions(model: Any, frames: int, atoms: int) -> list[Tensor | None]:
    """Frame and atomic parameters, then charge and spin, as far as the model has them."""
    widths = model.get_dim_fparam(), model.get_dim_aparam()
    fparam = 0.3 * torch.ones(frames, widths[0], dtype=torch.float64) if widths[0] else None
    aparam = 0.2 * torch.ones(frames, atoms, widths[1], dtype=torch.float64) if widths[1] else None
    charged = model.atomic_model.descriptor.charge_spin_embedding is not None
    return [fparam, aparam, torch.tensor([[1.0, 2.0]] * frames, dtype=torch.float64) if charged else None]


@pytest.mark.parametrize("door", ["forward", "forward_lower", "forward_common_lower", "forward_systems", "embedding"])
def test_doors_of_the_host(model: Any, door: str) -> None:
    run, arguments = DOORS[door](model)
    expected = values(run(*arguments))
    with card():
        model.to(CARD)
        same(from_card(run(*to_card(arguments))), expected)


def _forward(model: Any) -> Any:
    """Two frames, one with a padding atom."""
    frame = triclinic_frame()
    coord, types = torch.stack([frame.coord, frame.coord + 0.1 * frame.coord.sin()]), torch.stack([frame.types] * 2)
    types[1, -1] = -1
    box = torch.stack([frame.cell.reshape(9)] * 2)
    fparam, aparam, charge_spin = conditions(model, 2, len(frame.types))
    return model.forward, [coord, types, box, fparam, aparam, True, charge_spin]


def _lower(model: Any) -> Any:
    engine = Engine(model.get_rcut())
    fparam, aparam, charge_spin = conditions(model, 1, engine.n_owned)
    table = [engine.coord, engine.types, engine.table, engine.mapping]
    return model.forward_lower, [*table, fparam, aparam, True, None, charge_spin]


def _common(model: Any) -> Any:
    frame, graph, index = triclinic_frame(), *_edges(model)
    mask = torch.ones(len(graph.vector), dtype=torch.bool)
    mask[:3] = False
    given = [frame.coord.unsqueeze(0), frame.types.unsqueeze(0), index, graph.vector, index, mask]
    return model.forward_common_lower, [*given, *conditions(model, 1, len(frame.types))]


def _systems(model: Any) -> Any:
    graph, index = _edges(model)
    atoms = len(graph.node_type)
    given = [graph.node_type, torch.zeros(atoms, dtype=torch.int64), 1, index, graph.vector]
    return model.forward_systems, [*given, *conditions(model, 1, atoms), True, True]


def _embedding(model: Any) -> Any:
    frame = triclinic_frame()
    given = [frame.coord.unsqueeze(0), frame.types.unsqueeze(0), frame.cell.reshape(1, 9)]
    return model.forward_embedding, [*given, *conditions(model, 1, len(frame.types))]


def _edges(model: Any) -> Any:
    graph = graph_of(triclinic_frame(), model.get_rcut())
    return graph, torch.stack([graph.ends.sender, graph.ends.receiver])


DOORS: dict[str, Callable[[Any], Any]] = {
    "forward": _forward,
    "forward_lower": _lower,
    "forward_common_lower": _common,
    "forward_systems": _systems,
    "embedding": _embedding,
}


def test_structures_of_any_sizes() -> None:
    """The door of Python, from arrays to arrays."""
    section = inputs.model(inputs.SMALL | EXACT, EXACT, kernels="plain")
    model = build_model(section).eval()
    perturb(model, scale=0.3)
    structures = {
        0: _structure(triclinic_frame(), True),
        1: _structure(cluster_frame(), False),
    }
    types = {number: np.array([0 if symbol == "O" else 1 for symbol in s.symbols]) for number, s in structures.items()}
    expected = Batched(model, 3.5, 2, torch.device("cpu")).predict(structures, types, True)
    with card():
        found = Batched(model, 3.5, 2, CARD).predict(structures, types, True)
    for number, one in expected.items():
        np.testing.assert_allclose(found[number].forces, one.forces, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(found[number].virial, one.virial, rtol=1e-9, atol=1e-11)


def _structure(frame: Any, periodic: bool) -> Structure:
    cell = None if frame.cell is None else frame.cell.numpy()
    symbols = ["OH"[kind] for kind in frame.types.tolist()]
    return Structure(symbols=symbols, positions=frame.coord.numpy(), cell=cell, pbc=(periodic,) * 3)
