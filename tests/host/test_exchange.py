"""Features of ghosts through the communication tables of an MD engine, in one process without MPI.

One swap in which the process sends to itself reproduces periodicity: the ghosts are copies of owned atoms.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from deepmd_dpa4.descriptor import convolution, source_gate
from deepmd_dpa4.graph.neighbors import from_table
from deepmd_dpa4.host.build import build_model
from deepmd_dpa4.host.compat import every_neighbor
from deepmd_dpa4.model.conditions import Conditions
from deepmd_dpa4.ops.halo_exchange import fill_ghosts
from deepmd_dpa4.ops.native.load import load
from tests.support import inputs
from tests.support.backends import set_native
from tests.support.frames import triclinic_frame
from tests.support.predict import difference
from tests.support.weights import perturb

MODELS: dict[str, tuple[inputs.Section, inputs.Section]] = {
    "rich": (inputs.DESCRIPTOR, {}),
    "three blocks": (inputs.SMALL | {"l_schedule": [2, 1, 1], "n_focus": 2, "n_atten_head": 2}, {}),
    "zbl": (inputs.SMALL, {"bridging_method": "zbl", "bridging_r_inner": 1.8, "bridging_r_outer": 2.6}),
    "no seed": (inputs.SMALL | {"use_env_seed": False}, {}),
    "excluded": (inputs.SMALL, {"pair_exclude_types": [[1, 1]], "atom_exclude_types": [0]}),
}


TILE, WHOLE = 20, 10**6
"""Edges of a tile: several tiles, and one."""


def energy_model(name: str) -> Any:
    descriptor, others = MODELS[name]
    section = inputs.model(descriptor | {"precision": "float64"}, {"precision": "float64"}, **others)
    model = build_model(section).eval()
    perturb(model, scale=0.3)
    return model


class Engine:
    """What an MD engine hands over for one frame on one rank."""

    def __init__(self, rcut: float) -> None:
        frame = triclinic_frame()
        self.n_owned = len(frame.types)
        self.coord, self.types, self.mapping, self.table = every_neighbor(
            frame.coord.unsqueeze(0), frame.types.unsqueeze(0), rcut + 1.0, frame.cell.reshape(1, 9)
        )
        # the operator receives the address of this array, which therefore has to stay alive
        self.owners = self.mapping[0, self.n_owned :].numpy().astype(np.int32)
        count = torch.tensor([len(self.owners)], dtype=torch.int32)
        none = torch.zeros(1, dtype=torch.int32)
        self.tables = {
            "send_list": torch.tensor([self.owners.ctypes.data], dtype=torch.int64),
            "send_proc": none,
            "recv_proc": none,
            "send_num": count,
            "recv_num": count,
            "communicator": torch.zeros(1, dtype=torch.int64),
        }

    def by_mapping(self, model: Any) -> dict[str, Tensor]:
        return self.folded(model.forward_lower(self.coord, self.types, self.table, self.mapping, None, None, True))

    def by_exchange(self, model: Any) -> dict[str, Tensor]:
        out = model.forward_lower(self.coord, self.types, self.table, None, None, None, True, self.tables)
        return self.folded(out)

    def folded(self, out: dict[str, Tensor]) -> dict[str, Tensor]:
        """Derivatives on ghosts go to their owners, as the engine does."""
        folded = {key: out[key].detach() for key in ("energy", "atom_energy", "virial")}
        for key in ("extended_force", "extended_virial"):
            value = out[key].detach()[0]
            owned = torch.zeros_like(value[: self.n_owned])
            folded[key] = owned.index_add(0, self.mapping[0], value)
        return folded


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for key, value in expected.items():
        assert difference(found[key].detach().numpy(), value.detach().numpy()) < 1e-12, key


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> Any:
    return energy_model(request.param)


@pytest.mark.parametrize("compile_", [lambda model: model, torch.jit.script], ids=["eager", "script"])
def test_exchange_equals_folding(model: Any, compile_: Callable[[Any], Any]) -> None:
    engine = Engine(model.get_rcut())
    assert len(engine.owners) > 0
    expected = engine.by_mapping(model)
    # a scripted function changes its form after its first calls
    scripted = compile_(model)
    for _ in range(3):
        assert_equal(engine.by_exchange(scripted), expected)
    assert_equal(engine.by_mapping(scripted), expected)


def test_folding_equals_the_prediction_of_a_frame(model: Any) -> None:
    engine, frame = Engine(model.get_rcut()), triclinic_frame()
    out = model(frame.coord.unsqueeze(0), frame.types.unsqueeze(0), frame.cell.reshape(1, 9), do_atomic_virial=True)
    found = engine.by_mapping(model)
    for key, name in (("energy", "energy"), ("extended_force", "force"), ("virial", "virial")):
        expected = out[name].detach().reshape(found[key].shape)
        assert difference(found[key].numpy(), expected.numpy()) < 1e-11, key


def test_without_exchange_the_result_differs(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above would notice ghosts without features."""

    def zeros(features: Tensor, tables: dict[str, Tensor], n_nodes: int) -> Tensor:
        return functional.pad(features, [0, 0, 0, n_nodes - features.shape[0]])

    engine = Engine(model.get_rcut())
    expected = engine.by_mapping(model)
    for module in (convolution, source_gate):
        monkeypatch.setattr(module, "fill_ghosts", zeros)
    assert difference(engine.by_exchange(model)["extended_force"].numpy(), expected["extended_force"].numpy()) > 1e-3


def test_tables_take_precedence_over_a_mapping(model: Any) -> None:
    """With ``atom_modify map yes`` LAMMPS hands over both, and the mapping points to memory already released."""
    engine = Engine(model.get_rcut())
    garbage = torch.full_like(engine.mapping, 2**40)
    for compiled in (model, torch.jit.script(model)):
        out = compiled.forward_lower(engine.coord, engine.types, engine.table, garbage, None, None, True, engine.tables)
        assert_equal(engine.folded(out), engine.by_mapping(model))


def test_ghosts_without_owner_or_tables_are_refused(model: Any) -> None:
    engine = Engine(model.get_rcut())
    with pytest.raises(ValueError, match="atom_modify map"):
        model.forward_lower(engine.coord, engine.types, engine.table)


def test_tables_of_other_ghosts_are_refused(model: Any) -> None:
    """What DeePMD-kit makes of ``comm_style tiled``."""
    engine = Engine(model.get_rcut())
    engine.tables["recv_num"] = engine.tables["recv_num"] + 3
    count = len(engine.owners)
    with pytest.raises(ValueError, match=f"bring {count + 3} ghost atoms but there are {count}; in LAMMPS use `comm_"):
        engine.by_exchange(model)


def test_rank_without_atoms_exchanges_too(model: Any) -> None:
    """Its call of the operator is what the other ranks wait for."""
    empty = np.zeros(1, dtype=np.int32)
    none = torch.zeros(1, dtype=torch.int32)
    tables = {
        "send_list": torch.tensor([empty.ctypes.data], dtype=torch.int64),
        "send_proc": none,
        "recv_proc": none,
        "send_num": none,
        "recv_num": none,
        "communicator": torch.zeros(1, dtype=torch.int64),
    }
    for compiled in (model, torch.jit.script(model)):
        out = compiled.forward_lower(
            torch.zeros(1, 0, 3, dtype=torch.float64),
            torch.zeros(1, 0, dtype=torch.int64),
            torch.zeros(1, 0, 0, dtype=torch.int64),
            None,
            None,
            None,
            True,
            tables,
        )
        assert out["energy"].tolist() == [[0.0]]
        assert out["extended_force"].shape == (1, 0, 3)


class Identity(torch.autograd.Function):
    """Tells when a derivative passes; a hook of a tensor would also be called where none is asked for."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, tell: Callable[[], None]) -> Tensor:
        ctx.tell = tell
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.tell()
        return gradient, None


class Calls:
    """Exchanges forward and back, with the width of what is exchanged."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[str, int]] = []
        self.fill = fill_ghosts
        for module in (convolution, source_gate):
            monkeypatch.setattr(module, "fill_ghosts", self)

    def __call__(self, features: Tensor, tables: dict[str, Tensor], n_nodes: int) -> Tensor:
        width = features.shape[1]
        self.seen.append(("forward", width))
        # what is needed behind this identity is what is needed behind the exchange
        return Identity.apply(self.fill(features, tables, n_nodes), lambda: self.seen.append(("back", width)))


def derive(model: Any, engine: Engine, tile_edges: int) -> dict[str, Tensor]:
    """Energy and derivatives of what an engine hands over, in tiles if it has more edges than one."""
    core = model.atomic_model
    graph, scatter = from_table(
        engine.coord,
        engine.types,
        engine.table,
        None,
        engine.tables,
        core.descriptor.rcut,
        core.descriptor.ntypes,
        core.descriptor.excluded,
    )
    assert TILE < graph.ends.receiver.shape[0] < WHOLE
    return core.derive(graph, scatter, 1, Conditions(None, None, None), False, True, True, tile_edges)


class TestTiles:
    """One rank may evaluate in tiles while another, which owns fewer atoms, does not."""

    @pytest.mark.parametrize("native", [False, True], ids=["plain", "native"])
    def test_results(self, model: Any, native: bool) -> None:
        if native and not load():
            pytest.skip("this machine cannot have native kernels")
        engine = Engine(model.get_rcut())
        expected = derive(model, engine, WHOLE)
        set_native(model, native)
        found = derive(model, engine, TILE)
        set_native(model, False)
        assert_equal(found, expected)

    def test_exchanges_are_the_same(self, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every rank waits for the others in each of them, forward and back."""
        calls, engine = Calls(monkeypatch), Engine(model.get_rcut())
        derive(model, engine, WHOLE)
        direct = list(calls.seen)
        calls.seen.clear()
        derive(model, engine, TILE)
        assert calls.seen == direct
        assert [name for name, _ in direct].count("back") >= 1
