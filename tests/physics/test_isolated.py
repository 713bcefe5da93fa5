"""Energies referred to atoms without neighbours (theory 6.4)."""

from typing import Any

import deepmd.pt  # noqa: F401  (registers the operator of the ghost exchange, which the script compiler looks up)
import pytest
import torch
from torch import Tensor

from deepmd_dpa4.config import ConfigError
from deepmd_dpa4.graph.graph import Graph
from deepmd_dpa4.model.conditions import Conditions
from deepmd_dpa4.model.isolated import ground_states
from deepmd_dpa4.model.potential import Potential
from tests.support.frames import cluster_frame, frame, golden_frame
from tests.support.models import active_potential, evaluate_atoms, graph_of, relative_error, scatter_of
from tests.support.options import CONTACTS, MINI, S2, TINY, Options

PARAMETERS: Options = {"numb_fparam": 1, "numb_aparam": 2}
CASES: dict[str, dict[str, Any]] = {
    "plain": {"options": TINY},
    "mini": {"options": MINI},
    "grid activation": {"options": S2},
    "bridged": {"options": TINY, "bridging": CONTACTS},
    "one block": {"options": TINY | {"n_blocks": 1}, "bridging": CONTACTS},
    "bias of the last layer": {"options": TINY, "fitting": {"neuron": [], "bias_out": True}},
    "parameters": {"options": TINY, "fitting": PARAMETERS},
    "charge and spin": {"options": TINY | {"add_chg_spin_ebd": True}},
    "tasks": {"options": TINY, "fitting": {"dim_case_embd": 2}},
    "tasks by scale and shift": {"options": TINY, "fitting": {"dim_case_embd": 2, "case_film_embd": True}},
}
GROUND = [[0.0, 3.0], [0.0, 2.0]]


def build(case: str, referred: bool) -> Potential:
    options = CASES[case]
    potential = active_potential(**options | {"fitting": options.get("fitting", {}) | {"vacuum_ref": referred}})
    if potential.fitting_net.case_embd is not None:
        potential.fitting_net.case_embd[1] = 1.0
    return potential


def conditions(potential: Potential, graph: Graph, kind: int = 0) -> Conditions:
    """Parameters that the model needs; charge and spin are those of the neutral atom of a type."""
    net = potential.fitting_net
    fparam = torch.tensor([[0.3]], dtype=torch.float64) if net.n_frame else None
    numbers = torch.arange(2.0 * graph.ends.n_receivers, dtype=torch.float64).view(-1, 2)
    spin = torch.tensor([GROUND[kind]], dtype=torch.float64)
    seen = potential.descriptor.charge_spin_embedding is not None
    return Conditions(fparam, torch.sin(numbers) if net.n_atomic else None, spin if seen else None)


def atoms(potential: Potential, graph: Graph, kind: int = 0, **keywords: Any) -> dict[str, Tensor]:
    return evaluate_atoms(potential, graph, 1, conditions(potential, graph, kind), **keywords)


def lone(kind: int) -> Graph:
    return graph_of(frame([[1.0, 2.0, 3.0]], [kind]))


@pytest.mark.parametrize("case", CASES)
def test_an_isolated_atom_has_the_energy_of_its_bias(case: str) -> None:
    potential, plain = build(case, True), build(case, False)
    for kind in (0, 1):
        bias = potential.out_bias[0, kind, 0]
        assert float(abs(atoms(potential, lone(kind), kind)["energy"] - bias)) < 1e-12
        assert float(abs(atoms(plain, lone(kind), kind)["energy"] - bias)) > 1e-3


@pytest.mark.parametrize("case", CASES)
def test_only_constants_of_the_types_change(case: str) -> None:
    """Each atom loses what it would have alone, under its own parameters; forces and virials stay bit for bit."""
    potential, plain = build(case, True), build(case, False)
    graph = graph_of(golden_frame())
    found, expected = atoms(potential, graph), atoms(plain, graph)
    for name in ("force", "virial", "atom_virial"):
        assert torch.equal(found[name], expected[name]), name
    own = conditions(plain, graph)
    for index, kind in enumerate(golden_frame().types.tolist()):
        aparam = None if own.aparam is None else own.aparam[index : index + 1]
        spin = None if own.charge_spin is None else torch.tensor([GROUND[kind]], dtype=torch.float64)
        alone = evaluate_atoms(plain, lone(kind), 1, Conditions(own.fparam, aparam, spin))["atom_energy"]
        shift = alone[0] - plain.out_bias[0, kind, 0]
        assert float(abs(expected["atom_energy"][index] - shift - found["atom_energy"][index])) < 1e-11


@pytest.mark.parametrize("case", ["plain", "parameters", "charge and spin"])
def test_folding_changes_nothing(case: str) -> None:
    potential, graph = build(case, True), graph_of(golden_frame())
    before = atoms(potential, graph)
    states = {name: value.clone() for name, value in potential.state_dict().items()}
    names = [stage.name for stage in potential.stages(graph.vector, True)]
    potential.fold_isolated_atoms()
    folded = [stage.name for stage in potential.stages(graph.vector, True)]
    assert ["isolated", *folded] == names
    after = atoms(potential, graph)
    for name in ("energy", "force", "virial"):
        assert relative_error(after[name], before[name]) < 1e-13, name
    assert states.keys() == potential.state_dict().keys()
    assert all(torch.equal(states[name], value) for name, value in potential.state_dict().items())


@pytest.mark.parametrize("case", ["plain", "parameters", "bridged"])
def test_tiles(case: str) -> None:
    potential, graph = build(case, True), graph_of(cluster_frame())
    found, expected = atoms(potential, graph, tile_edges=4), atoms(potential, graph, tiled=False)
    for name in ("energy", "atom_energy", "force", "virial"):
        assert relative_error(found[name], expected[name]) < 1e-12, name


@pytest.mark.slow
def test_script() -> None:
    potential, graph = build("one block", True), graph_of(golden_frame())
    expected = atoms(potential, graph)
    scripted = torch.jit.script(potential)
    given = conditions(potential, graph)
    for tile_edges in (40, 100000):
        found = scripted.derive(graph, scatter_of(graph), 1, given, False, True, True, tile_edges)
        for name in ("energy", "force"):
            assert relative_error(found[name], expected[name]) < 1e-12, name


def test_distant_parts_add_up() -> None:
    potential = build("plain", True)
    near = [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    far = [*near, [50.0, 0.0, 0.0], [50.0, 0.9, 0.0], [0.0, 90.0, 0.0]]
    parts = [(near, [0, 1]), ([[0.0, 0.0, 0.0], [0.0, 0.9, 0.0]], [1, 1]), ([[0.0, 0.0, 0.0]], [0])]
    whole = atoms(potential, graph_of(frame(far, [0, 1, 1, 1, 0])))["energy"]
    total = sum(atoms(potential, graph_of(frame(*part)))["energy"] for part in parts)
    assert relative_error(whole, total) < 1e-13


def test_gradients_train_the_isolated_atoms() -> None:
    """The energy of an atom alone is a constant for all weights, that of a pair is not."""
    potential = build("mini", True).train()
    names, weights = zip(*potential.named_parameters(), strict=True)
    pair = graph_of(frame([[0.0, 0.0, 0.0], [0.0, 0.3, 1.0]], [0, 1]))
    largest = []
    for graph in (lone(1), pair):
        gradients = torch.autograd.grad(potential(graph, 1)["energy"].sum(), weights, allow_unused=True)
        largest.append({name: float(g.abs().max()) for name, g in zip(names, gradients, strict=True) if g is not None})
    assert any(value > 1e-3 for value in largest[1].values())
    for name, value in largest[0].items():
        assert value < 1e-11 * max(largest[1].values()), name


def test_ground_states() -> None:
    assert ground_states(["O", "H", "Cr", "Pd"]).tolist() == [[0, 3], [0, 2], [0, 7], [0, 1]]
    with pytest.raises(ConfigError, match="`type_map` holds 'OW' but"):
        ground_states(["OW"])
