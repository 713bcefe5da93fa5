"""The graph that compiled files are made from: one trace serves all sizes and gives the numbers of the model."""

import re
from collections import Counter
from typing import Any

import pytest
import torch
from deepmd.pt.model.model import get_model
from torch import Tensor
from torch.export.passes import move_to_device_pass

from deepmd_dpa4.graph.neighbors import search
from deepmd_dpa4.host.compat import COMPILED_FILES
from deepmd_dpa4.ops.backends import use_backend
from deepmd_dpa4.ops.operation import has_triton
from tests.host.test_exchange import Engine
from tests.support.models import KERNELS, require
from tests.support.weights import perturb

SECTION: dict[str, Any] = {
    "type": "dpa4",
    "type_map": ["O", "H"],
    "descriptor": {
        "channels": 8,
        "lmax": 1,
        "n_blocks": 1,
        "mixing_layers": 2,
        "message_node_so3": True,
        "ffn_so3_grid": True,
        "n_radial": 4,
        "rcut": 4.0,
        "exclude_types": [[1, 1]],
        "precision": "float64",
        "seed": 1,
    },
    "fitting_net": {"precision": "float64", "seed": 1},
}


def inputs(atoms: int, seed: int) -> tuple[Tensor | None, ...]:
    """A random periodic frame as the exporter hands it over, with two masked edges at the end."""
    generator = torch.Generator().manual_seed(seed)
    coord = torch.rand([1, atoms, 3], generator=generator, dtype=torch.float64) * 7.0
    atype = torch.randint(0, 2, [1, atoms], generator=generator)
    box = torch.eye(3, dtype=torch.float64).unsqueeze(0) * 7.0
    graph = search(coord, atype, box, 4.0, 2, None)
    masked = torch.zeros([2, 2], dtype=torch.int64)
    index = torch.cat([torch.stack([graph.ends.sender, graph.ends.receiver]), masked], dim=1)
    vector = torch.cat([graph.vector, torch.ones([2, 3], dtype=torch.float64)])
    mask = torch.ones(index.shape[1], dtype=torch.bool)
    mask[-2:] = False
    return coord, atype, index, vector, index, mask, None, None, None


def build(kernels: str) -> Any:
    require(kernels)
    model = get_model(SECTION | {"kernels": kernels}).to("cpu").eval()
    perturb(model, scale=0.3)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("kernels", KERNELS)
def test_one_trace_serves_all_sizes(kernels: str) -> None:
    model = build(kernels)
    traced = model.forward_common_lower_exportable(*inputs(7, seed=1))
    for atoms, seed in ((7, 1), (11, 2), (5, 3)):
        arguments = inputs(atoms, seed)
        expected = model.forward_common_lower(*arguments)
        found = traced(*arguments)
        assert list(found) == list(expected)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kernels", KERNELS)
def test_masked_and_excluded_edges_do_not_count(kernels: str) -> None:
    model = build(kernels)
    coord, atype, index, vector, scatter, mask, *conditions = inputs(9, seed=4)
    assert coord is not None and atype is not None
    box = torch.eye(3, dtype=torch.float64).view(1, 9) * 7.0
    expected = model(coord, atype, box=box)
    found = model.forward_common_lower(coord, atype, index, vector, scatter, mask, *conditions)
    torch.testing.assert_close(found["energy_redu"], expected["energy"], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found["energy_derv_r"].squeeze(2), expected["force"], rtol=1e-11, atol=1e-11)


def test_exporter_finds_what_it_asks_for() -> None:
    model = get_model(SECTION)
    assert model.export_lower_input_kind() == "edge_vec"
    assert model.supports_edge_parallel() is True


def ranks(engine: Engine) -> tuple[Tensor | None, ...]:
    """What one rank among several hands over: edges between owned atoms and ghosts, and its tables."""
    receiver, column = (engine.table[0] >= 0).nonzero().unbind(1)
    sender = engine.table[0, receiver, column]
    edges = torch.stack([sender, receiver])
    vector = engine.coord[0, sender] - engine.coord[0, receiver]
    owned = engine.types[:, : engine.n_owned]
    counts = [torch.tensor(n, dtype=torch.int32) for n in (engine.n_owned, len(engine.owners))]
    mask = torch.ones(len(sender), dtype=torch.bool)
    tables = list(engine.tables.values())
    return engine.coord, owned, engine.types, edges, vector, edges, mask, None, None, None, *tables, *counts


@pytest.mark.slow
@pytest.mark.skipif(not COMPILED_FILES, reason="this DeePMD-kit has no compiled files for several ranks")
def test_graph_for_several_ranks() -> None:
    """Traced with the ghosts of one cutoff, run with those of another."""
    model = build("plain")
    traced = model.forward_common_lower_exportable_with_comm(*ranks(Engine(3.0)))
    engine = Engine(4.0)
    expected = engine.by_mapping(model)
    out = traced(*ranks(engine))
    found = {"energy": out["energy_redu"], "extended_force": out["energy_derv_r"].squeeze(2)}
    found["virial"] = out["energy_derv_c_redu"].squeeze(1)
    torch.testing.assert_close(found["energy"], expected["energy"], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found["virial"], expected["virial"], rtol=1e-11, atol=1e-11)
    force = torch.zeros_like(expected["extended_force"]).index_add(0, engine.mapping[0], found["extended_force"][0])
    torch.testing.assert_close(force, expected["extended_force"], rtol=1e-11, atol=1e-11)


OF_ONE_BLOCK = {
    "gated_sum": 1,
    "gated_sum_gradients": 1,
    "turn_in": 1,
    "turn_in_gradients": 1,
    "turn_back_sum": 1,
    "turn_back_gradients": 1,
    "edge_softmax": 1,
    "edge_softmax_gradients": 1,
    "couple": 1,
    "couple_adjoint": 2,
}
"""Operators of an energy and its derivative by edge vectors."""


@pytest.mark.slow
@pytest.mark.skipif(not (has_triton() and COMPILED_FILES), reason="needs Triton, a C compiler, DeePMD-kit 3.2")
def test_graphs_for_cards_hold_the_operators_in_triton() -> None:
    """As DeePMD-kit's exporter makes them: traced and tried on a CPU, exported, moved to the card."""
    from deepmd.pt.entrypoints import freeze_pt2

    card = torch.device("cuda", 0)
    descriptor = SECTION["descriptor"] | {"precision": "float32", "n_atten_head": 2}
    section = SECTION | {"kernels": "plain", "descriptor": descriptor}
    model = get_model(section).to("cpu").eval()
    perturb(model, scale=0.3)
    _, sample = freeze_pt2._resolve_nframes(model, nloc=7, device=torch.device("cpu"))
    frames = [sample, inputs(5, seed=3)]
    expected = [model.forward_common_lower(*frame) for frame in frames]
    use_backend(model, "triton", card)
    traced = model.forward_common_lower_exportable(*sample)
    for frame, values in zip(frames, expected, strict=True):
        for name, found in traced(*frame).items():
            torch.testing.assert_close(found, values[name], rtol=1e-5, atol=1e-5)
    exported = torch.export.export(
        traced,
        sample,
        dynamic_shapes=freeze_pt2._build_dynamic_shapes(sample),
        strict=False,
        prefer_deferred_runtime_asserts_over_guards=True,
    )
    nodes = [node for node in exported.graph.nodes if isinstance(node.meta.get("val"), Tensor)]
    mode = nodes[0].meta["val"].fake_mode
    for state in (exported.state_dict, exported.constants):
        state |= {name: mode.from_tensor(value) for name, value in state.items() if isinstance(value, Tensor)}
    with mode:
        moved = move_to_device_pass(exported, card)
    devices = {node.meta["val"].device for node in moved.graph.nodes if isinstance(node.meta.get("val"), Tensor)}
    assert devices == {card}
    counts = Counter(re.findall(r"dpa4_triton\.(\w+)", moved.graph_module.code))
    assert counts == OF_ONE_BLOCK
