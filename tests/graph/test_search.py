"""Neighbour search against all pairs over enough images."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepmd_dpa4.graph.extent import check_extent, close_gaps
from deepmd_dpa4.graph.graph import Graph
from deepmd_dpa4.graph.neighbors import search, sort_edges
from tests.support import frames
from tests.support.frames import Frame
from tests.support.models import graph_of

Edge = tuple[int, int, tuple[float, float, float]]


def brute_force(frame: Frame, rcut: float) -> list[Edge]:
    """Receiver, sender and vector of every pair within the cutoff, for real atoms."""
    shifts = torch.zeros(1, 3, dtype=torch.float64)
    if frame.cell is not None:
        # distance between lattice planes, and how far atoms lie outside the cell
        heights = 1.0 / torch.linalg.inv(frame.cell).norm(dim=0)
        fractional = frame.coord @ torch.linalg.inv(frame.cell)
        spread = fractional.max(0).values - fractional.min(0).values
        reach = [math.ceil(rcut / h + s) for h, s in zip(heights.tolist(), spread.tolist(), strict=True)]
        grid = itertools.product(*(range(-n, n + 1) for n in reach))
        shifts = torch.tensor(list(grid), dtype=torch.float64) @ frame.cell
    edges = []
    for i, j in itertools.product(range(len(frame.types)), repeat=2):
        if frame.types[i] < 0 or frame.types[j] < 0:
            continue
        vectors = frame.coord[j] - frame.coord[i] + shifts
        distance = vectors.norm(dim=1)
        for vector in vectors[(distance < rcut) & (distance > 1e-5)].tolist():
            edges.append((i, j, tuple(vector)))
    return edges


def listed(graph: Graph) -> list[Edge]:
    sender, receiver, *_ = graph.ends
    return list(zip(receiver.tolist(), sender.tolist(), (tuple(v) for v in graph.vector.tolist()), strict=True))


def assert_same_edges(found: list[Edge], expected: list[Edge]) -> None:
    def key(edge: Edge) -> tuple:
        return edge[0], edge[1], *(round(x, 6) + 0.0 for x in edge[2])

    assert sorted(map(key, found)) == sorted(map(key, expected))


SYSTEMS = {
    "triclinic": frames.triclinic_frame(),
    "self images": frames.tiny_cell_frame(),
    "open": frames.cluster_frame(),
    "isolated atom": frames.isolated_frame(),
    "outside the cell": frames.golden_frame().moved(
        frames.golden_frame().coord * 3.0 - torch.tensor([20.0, 0.0, -31.0], dtype=torch.float64)
    ),
    "one atom, many images": frames.frame([[0.3, 0.2, 0.1]], [0], [[2.1, 0.0, 0.0], [0.9, 2.0, 0.0], [-0.7, 0.6, 1.9]]),
    "left-handed cell": frames.frame([[0, 0, 0], [1, 1, 1]], [0, 1], [[0, 4.0, 0], [4.2, 0.3, 0], [0, 0, 4.1]]),
    "flat cell": frames.frame([[0, 0, 0], [1, 1, 1]], [0, 1], [[9.0, 0.0, 0.0], [7.5, 3.0, 0.0], [0.0, 0.0, 4.1]]),
}


@pytest.mark.parametrize("rcut", [3.0, 6.0])
@pytest.mark.parametrize("name", SYSTEMS)
def test_equals_all_pairs(name: str, rcut: float) -> None:
    assert_same_edges(listed(graph_of(SYSTEMS[name], rcut)), brute_force(SYSTEMS[name], rcut))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), atoms=st.integers(1, 6), rcut=st.floats(1.0, 6.0), periodic=st.booleans())
def test_equals_all_pairs_in_random_frames(seed: int, atoms: int, rcut: float, periodic: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    cell = 4.0 * torch.eye(3, dtype=torch.float64)
    cell = cell + 0.8 * torch.randn(3, 3, generator=generator, dtype=torch.float64)
    coord = 8.0 * torch.rand(atoms, 3, generator=generator, dtype=torch.float64) - 2.0
    frame = Frame(coord, torch.zeros(atoms, dtype=torch.int64), cell if periodic else None)
    assert_same_edges(listed(graph_of(frame, rcut)), brute_force(frame, rcut))


def test_vectors_and_order() -> None:
    graph = graph_of(frames.golden_frame())
    assert graph.vector.dtype == torch.float64
    assert not graph.vector.requires_grad
    assert bool((graph.ends.receiver.diff() >= 0).all()), "edges are sorted by receiver"
    assert bool((graph.vector.norm(dim=1) < 6.0).all())


def test_padding_atoms_have_no_edges() -> None:
    real = frames.golden_frame()
    coord = torch.cat([torch.zeros(1, 3, dtype=torch.float64), real.coord])
    padded = Frame(coord, torch.cat([torch.tensor([-1]), real.types]), real.cell)
    graph = graph_of(padded)
    assert graph.node_type[0] == 2
    shifted = [(i + 1, j + 1, v) for i, j, v in listed(graph_of(real))]
    assert_same_edges(listed(graph), shifted)


def test_excluded_types() -> None:
    excluded = torch.zeros(3, 3, dtype=torch.bool)
    excluded[0, 1] = excluded[1, 0] = True
    frame = frames.golden_frame()
    expected = [e for e in brute_force(frame, 6.0) if frame.types[e[0]] == frame.types[e[1]]]
    assert_same_edges(listed(graph_of(frame, excluded=excluded)), expected)


def test_coincident_atoms_are_no_pair() -> None:
    frame = frames.frame([[0, 0, 0], [0, 0, 0], [1, 0, 0]], [0, 0, 1])
    with pytest.warns(UserWarning, match="atoms 0 and 1 of frame 0, counted from 0, are at the same place"):
        found = graph_of(frame)
    assert_same_edges(listed(found), brute_force(frame, 6.0))


def test_padding_at_one_place_is_no_fault() -> None:
    """A warning would be an error here."""
    frame = frames.frame([[0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0]], [0, -1, 1, -1])
    assert_same_edges(listed(graph_of(frame)), brute_force(frame, 6.0))


def test_frames_of_a_batch_do_not_meet() -> None:
    frame = frames.golden_frame()
    coord = torch.stack([frame.coord, frame.coord + 0.1, frame.coord.flip(0)])
    graph = search(coord, frame.types.expand(3, -1), frame.cell.expand(3, 3, 3), 6.0, 2, None)
    assert graph.ends.n_receivers == 18
    assert torch.equal(graph.frame, torch.arange(3).repeat_interleave(6))
    assert torch.equal(graph.frame[graph.ends.sender], graph.frame[graph.ends.receiver])


@pytest.mark.parametrize("periodic", [True, False])
def test_no_atoms(periodic: bool) -> None:
    cell = 5.0 * torch.eye(3, dtype=torch.float64).unsqueeze(0) if periodic else None
    graph = search(torch.zeros(1, 0, 3), torch.zeros(1, 0, dtype=torch.int64), cell, 6.0, 2, None)
    assert graph.ends.n_receivers == 0
    assert graph.vector.shape == (0, 3)
    assert len(graph.ends.sender) == len(graph.ends.receiver) == len(graph.node_type) == 0


def test_single_atom() -> None:
    graph = graph_of(frames.frame([[1.0, 2.0, 3.0]], [1]))
    assert graph.ends.n_receivers == 1
    assert graph.vector.shape == (0, 3)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_refuses_coordinates_that_are_not_finite(bad: float) -> None:
    frame = frames.golden_frame()
    coord = torch.stack([frame.coord, frame.coord])
    coord[1, 2, 0] = bad
    with pytest.raises(ValueError, match="`coord` of frame 1 is not finite"):
        search(coord, frame.types.expand(2, -1), frame.cell.expand(2, 3, 3), 6.0, 2, None)


def test_refuses_cells_without_volume() -> None:
    frame = frames.golden_frame()
    flat = frame.cell.clone()
    flat[2] = flat[0] + flat[1]
    with pytest.raises(ValueError, match=r"`box` of frame 0 has volume .* must be positive"):
        graph_of(Frame(frame.coord, frame.types, flat))


def test_selected_edges_in_the_order_of_their_receivers() -> None:
    receiver = torch.tensor([3, 0, 2, 0, 3, 1])
    assert sort_edges(torch.arange(6), receiver).tolist() == [1, 3, 5, 2, 0, 4]
    assert sort_edges(torch.tensor([0, 3, 5]), receiver).tolist() == [3, 5, 0]
    in_order = torch.tensor([1, 3, 5, 2])
    assert sort_edges(in_order, receiver) is in_order
    assert sort_edges(in_order[:0], receiver).shape == (0,)


WIDE: dict[str, list[list[float]]] = {
    "an atom has left": [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [5e5, 0.0, 0.0]],
    "along a diagonal of a plane": [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1300.0, 1300.0, 0.0]],
    "so far that digits are lost": [[0.0, 0.2, 0.3], [1.0, 0.2, 0.3], [-1e15, 1e15, 0.3]],
    "as far as numbers go": [[0.0, 0.2, 0.3], [1.0, 0.2, 0.3], [-1e308, 1e308, 1e308]],
    "sheet without thickness": [[10.0 * i, 10.0 * j, 0.0] for i in (0, 0.1, *range(1, 150, 7)) for j in range(150)],
}


@pytest.mark.parametrize("name", WIDE)
def test_open_frames_of_any_width(name: str) -> None:
    """vesin would divide by zero."""
    coord = torch.tensor(WIDE[name], dtype=torch.float64)
    graph = search(coord[None], torch.zeros(1, len(coord), dtype=torch.int64), None, 4.0, 1, None)
    pairs = 150 if len(coord) > 3 else 1
    assert len(graph.vector) == 2 * pairs
    assert torch.equal(graph.vector.abs(), torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64).expand(2 * pairs, 3))


@pytest.mark.parametrize("box", [[1300.0, 1300.0, 4.1], [1e6, 10.0, 10.0], [1e4, 1e4, 1e4]])
def test_wide_cells(box: list[float]) -> None:
    coord = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]], dtype=torch.float64)
    cell = torch.diag(torch.tensor(box, dtype=torch.float64))[None]
    assert len(search(coord, torch.zeros(1, 2, dtype=torch.int64), cell, 4.0, 1, None).vector) == 2


def test_a_cell_that_is_too_wide() -> None:
    cell = torch.diag(torch.tensor([1e9, 10.0, 10.0], dtype=torch.float64))[None]
    with pytest.raises(ValueError, match=r"1e\+09 x 10 x 10 A are too wide for a search of pairs within 4 A"):
        search(torch.zeros(1, 2, 3), torch.zeros(1, 2, dtype=torch.int64), cell, 4.0, 1, None)
    check_extent(torch.zeros(1, 2, 3), torch.eye(3)[None] * 1e4, 4.0)
    with pytest.raises(ValueError, match="frame 1 is too wide for DeePMD-kit's search"):
        check_extent(torch.tensor([[[0.0, 0, 0], [1, 0, 0]], [[0, 0, 0], [5e5, 0, 0]]]), None, 4.0)


@given(st.lists(st.tuples(*[st.floats(-60, 60)] * 3), min_size=2, max_size=8), st.floats(1, 9))
@settings(max_examples=50, deadline=None)
def test_closing_gaps_changes_no_pair(points: list[tuple[float, float, float]], rcut: float) -> None:
    coord = torch.tensor(points, dtype=torch.float64)
    closed = close_gaps(coord, rcut)
    before, after = (value[:, None] - value[None, :] for value in (coord, closed))
    near = before.norm(dim=2) < rcut * (1 - 1e-9)
    torch.testing.assert_close(before[near], after[near], rtol=0, atol=1e-10)
    assert bool((after.norm(dim=2)[before.norm(dim=2) > rcut * (1 + 1e-9)] > rcut).all())
