"""A neighbour table of the host gives the same graph as the search."""

import pytest
import torch

from deepmd_dpa4.graph.neighbors import from_table, search
from deepmd_dpa4.host.compat import every_neighbor
from tests.graph.test_search import assert_same_edges, listed
from tests.support import frames
from tests.support.frames import Frame
from tests.support.models import NONE, active_potential, evaluate, graph_of, relative_error
from tests.support.options import MINI

FRAMES = {
    "triclinic": frames.triclinic_frame(),
    "golden": frames.golden_frame(),
    "self images": frames.tiny_cell_frame(),
    "open": frames.cluster_frame(),
    "isolated atom": frames.isolated_frame(),
}


def host_table(coord: torch.Tensor, types: torch.Tensor, cell: torch.Tensor | None, rcut: float):
    box = None if cell is None else cell.reshape(len(coord), 9)
    return every_neighbor(coord, types, rcut, box)


def from_host(frame: Frame, rcut: float = 6.0, excluded: torch.Tensor | None = None):
    cell = None if frame.cell is None else frame.cell.unsqueeze(0)
    coord, types, mapping, table = host_table(frame.coord.unsqueeze(0), frame.types.unsqueeze(0), cell, rcut)
    return from_table(coord.view(1, -1, 3), types, table, mapping, None, 6.0, 2, excluded)


@pytest.mark.parametrize("name", FRAMES)
def test_equals_search(name: str) -> None:
    graph, scatter = from_host(FRAMES[name])
    assert_same_edges(listed(graph), listed(graph_of(FRAMES[name])))
    assert torch.equal(scatter.receiver, graph.ends.receiver)
    assert graph.ends.n_receivers == len(FRAMES[name].types)


def test_table_may_reach_beyond_the_cutoff() -> None:
    graph, _ = from_host(FRAMES["triclinic"], rcut=7.0)
    assert_same_edges(listed(graph), listed(graph_of(FRAMES["triclinic"])))


def test_excluded_types() -> None:
    excluded = torch.zeros(3, 3, dtype=torch.bool)
    excluded[0, 1] = excluded[1, 0] = True
    graph, _ = from_host(FRAMES["golden"], excluded=excluded)
    assert_same_edges(listed(graph), listed(graph_of(FRAMES["golden"], excluded=excluded)))


def test_batch() -> None:
    frame = frames.golden_frame()
    coord = torch.stack([frame.coord, frame.coord + 0.3])
    types, cell = frame.types.expand(2, -1), frame.cell.expand(2, 3, 3)
    extended, extended_types, mapping, table = host_table(coord, types, cell, 6.0)
    graph, scatter = from_table(extended.view(2, -1, 3), extended_types, table, mapping, None, 6.0, 2, None)
    assert_same_edges(listed(graph), listed(search(coord, types, cell, 6.0, 2, None)))
    assert scatter.n_atoms == extended_types.numel()


def test_ghost_forces_fold_onto_their_owners() -> None:
    """Forces on owned and ghost atoms, summed per owner, are those of the periodic frame."""
    frame = frames.golden_frame()
    potential = active_potential(MINI)
    coord, types, mapping, table = host_table(
        frame.coord.unsqueeze(0), frame.types.unsqueeze(0), frame.cell.unsqueeze(0), 6.0
    )
    graph, scatter = from_table(coord.view(1, -1, 3), types, table, mapping, None, 6.0, 2, None)
    out = potential.derive(graph, scatter, 1, NONE, False)
    folded = torch.zeros(6, 3, dtype=torch.float64).index_add(0, mapping[0], out["force"])
    reference = evaluate(potential, frame)
    assert relative_error(folded, reference.force) < 1e-12
    assert relative_error(out["energy"][0], reference.energy) < 1e-12
    assert relative_error(out["virial"][0].view(3, 3), reference.virial) < 1e-12


def test_ghosts_without_owners_are_refused() -> None:
    frame = frames.golden_frame()
    coord, types, _, table = host_table(
        frame.coord.unsqueeze(0), frame.types.unsqueeze(0), frame.cell.unsqueeze(0), 6.0
    )
    with pytest.raises(ValueError, match="atom_modify map yes"):
        from_table(coord.view(1, -1, 3), types, table, None, None, 6.0, 2, None)
