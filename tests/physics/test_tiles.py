"""Large systems are evaluated in tiles: the results are those of the direct evaluation."""

from typing import Any

import deepmd.pt  # noqa: F401  (registers the operator of the ghost exchange, which the script compiler looks up)
import pytest
import torch

from deepmd_dpa4.graph.graph import Ends
from deepmd_dpa4.model.conditions import Conditions
from deepmd_dpa4.model.potential import Potential
from deepmd_dpa4.model.tiles import tile_bounds
from deepmd_dpa4.ops.native.load import load
from tests.support.backends import set_native
from tests.support.frames import cluster_frame, golden_frame, isolated_frame
from tests.support.models import NONE, active_potential, evaluate_atoms, graph_of, relative_error, scatter_of
from tests.support.options import MINI, NANO, NEO, S2, Options

CASES: dict[str, Options] = {
    "nano": NANO,
    "mini": MINI,
    "neo": NEO,
    "schedules": MINI | {"l_schedule": [3, 2], "m_schedule": [2, 1]},
    "no attention": MINI | {"n_atten_head": 0},
    "no seed": MINI | {"use_env_seed": False},
    "grid activation": S2 | {"s2_activation": [True, True]},
}


BRIDGED = "zone bridging"


@pytest.fixture(scope="module", params=[*CASES, BRIDGED])
def potential(request: pytest.FixtureRequest) -> Potential:
    if request.param == BRIDGED:
        return active_potential(MINI, bridging=(0.8, 1.4))
    return active_potential(CASES[request.param])


@pytest.mark.parametrize("native", [False, True], ids=["plain", "native"])
@pytest.mark.parametrize("frame", [golden_frame, cluster_frame, isolated_frame])
def test_equals_direct_evaluation(potential: Potential, frame: Any, native: bool) -> None:
    assert not native or load()
    set_native(potential, native)
    graph = graph_of(frame())
    vector = graph.vector.detach().requires_grad_(True)
    expected = potential.predict(graph._replace(vector=vector), NONE)["energy"]
    slope = torch.autograd.grad(expected.sum(), vector)[0]
    for tile_edges, tile_nodes in ((1, 1024), (50, 2), (1000, 2)):
        energy, gradient, _ = potential.run_tiled(graph, potential.inputs(graph, NONE), tile_edges, tile_nodes)
        assert relative_error(energy, expected) < 1e-13
        assert relative_error(gradient, slope) < 1e-12


def test_repulsion_is_added_once() -> None:
    potential = active_potential(MINI, bridging=(0.8, 1.4))
    graph = graph_of(golden_frame())
    expected, found = evaluate_atoms(potential, graph, tiled=False), evaluate_atoms(potential, graph, tile_edges=50)
    for name in ("atom_energy", "force", "virial"):
        assert relative_error(found[name], expected[name]) < 1e-12, name


@pytest.mark.slow
def test_scripted(potential: Potential) -> None:
    set_native(potential, False)
    graph = graph_of(golden_frame())
    scripted = torch.jit.script(potential)
    expected = potential(graph, 1)
    for _ in range(3):
        found = scripted.derive(graph, scatter_of(graph), 1, NONE, False, True, True, 40)
        for name in ("energy", "force", "virial"):
            assert relative_error(found[name], expected[name]) < 1e-12, name


def test_conditions_of_frames_and_atoms_reach_their_tiles() -> None:
    """Two frames with different frame parameters, atoms with different atomic ones."""
    potential = active_potential(MINI, fitting={"numb_fparam": 1, "numb_aparam": 2})
    single = graph_of(golden_frame())
    edges, atoms = single.ends.sender.shape[0], single.ends.n_receivers
    double = single._replace(
        node_type=single.node_type.repeat(2),
        frame=torch.arange(2).repeat_interleave(atoms),
        ends=Ends(
            torch.cat([single.ends.sender, single.ends.sender + atoms]),
            torch.cat([single.ends.receiver, single.ends.receiver + atoms]),
            2 * atoms,
        ),
        vector=single.vector.repeat(2, 1),
    )
    fparam, aparam = torch.tensor([[0.3], [-0.8]]).double(), torch.rand(2 * atoms, 2, dtype=torch.float64)
    given = (potential, double, 2, Conditions(fparam, aparam, None))
    expected, found = evaluate_atoms(*given), evaluate_atoms(*given, tile_edges=edges // 3)
    for name in ("energy", "atom_energy", "force", "virial"):
        assert relative_error(found[name], expected[name]) < 1e-12, name


def test_tiles_cover_everything_once() -> None:
    graph = graph_of(golden_frame())
    for tile_edges, tile_nodes in ((1, 100), (1000, 100), (50, 100), (1000, 1)):
        nodes, edges = tile_bounds(graph, tile_edges, tile_nodes)
        assert nodes[0] == edges[0] == 0
        assert (nodes[-1], edges[-1]) == (graph.ends.n_receivers, graph.ends.receiver.shape[0])
        for tile in range(len(nodes) - 1):
            owners = graph.ends.receiver[edges[tile] : edges[tile + 1]]
            assert bool(((owners >= nodes[tile]) & (owners < nodes[tile + 1])).all())
