"""Problems of single frames, and structures that come twice."""

from dataclasses import replace

import numpy as np
import pytest

from deepmd_dpa4.tools.data.checks import Inspector, Kind, pairs_within
from deepmd_dpa4.tools.data.deduplicate import Seen, fingerprint
from deepmd_dpa4.tools.data.frame import Frame, Place
from deepmd_dpa4.tools.data.limits import Limits

FRAME = Frame(
    Place("file", 0),
    ("H", "O", "H"),
    np.array([[0.0, 0, 0], [1, 0, 0], [0, 5.9, 0]]),
    6 * np.eye(3),
    energy=-1.0,
    force=np.zeros((3, 3)),
    virial=np.zeros((3, 3)),
)


def kinds(frame: Frame, limits: Limits | None = None) -> list[Kind]:
    return [problem.kind for problem in Inspector(limits or Limits(min_distance=0.05)).problems(frame)]


def test_nothing_wrong() -> None:
    assert kinds(FRAME) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"energy": None}, [Kind.NO_ENERGY]),
        ({"force": None}, [Kind.NO_FORCES]),
        ({"energy": None, "force": None}, [Kind.NO_LABELS]),
        ({"virial": None}, []),
        ({"energy": np.nan}, [Kind.LABELS_NOT_FINITE]),
        ({"force": np.full((3, 3), np.inf)}, [Kind.LABELS_NOT_FINITE]),
        ({"virial": np.full((3, 3), np.nan)}, [Kind.LABELS_NOT_FINITE]),
        ({"energy": np.nan, "force": np.full((3, 3), np.inf)}, [Kind.NOT_FINITE]),
        ({"energy": np.nan, "force": None}, [Kind.NOT_FINITE]),
        ({"positions": np.full((3, 3), np.nan)}, [Kind.NOT_FINITE]),
        ({"cell": np.full((3, 3), np.inf)}, [Kind.NOT_FINITE]),
        ({"cell": np.diag([6.0, 6, 0])}, [Kind.NO_VOLUME]),
        ({"force": np.diag([0, -51.0, 0])}, [Kind.LARGE_FORCE]),
        ({"symbols": (), "positions": np.zeros((0, 3)), "force": np.zeros((0, 3))}, [Kind.NO_ATOMS]),
    ],
)
def test_problems(change: dict[str, object], expected: list[Kind]) -> None:
    assert kinds(replace(FRAME, **change)) == expected  # type: ignore[arg-type]


def test_close_through_the_boundary() -> None:
    (problem,) = Inspector(Limits(min_distance=0.11)).problems(FRAME)
    assert problem.kind is Kind.TOO_CLOSE
    assert problem.detail == "0.1000 A between atoms 0 (H) and 2 (H)"
    assert kinds(replace(FRAME, cell=None), Limits(min_distance=0.11)) == []


def test_an_atom_that_has_flown_away() -> None:
    """The search that serves cells ends the process at such frames."""
    positions = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1e6], [0.0, 0.3, 1e6]])
    first, second, distance = pairs_within(Frame(Place("a", 0), ("H", "H", "H"), positions, None), 0.5)
    assert (first.tolist(), second.tolist()) == ([1], [2])
    assert distance == pytest.approx([0.3])


def test_same_structure_in_another_order() -> None:
    inspector = Inspector(Limits(min_distance=0.05))
    order = [1, 0, 2]
    other = replace(FRAME, symbols=("O", "H", "H"), positions=FRAME.positions[order], energy=5.0)
    assert inspector.problems(FRAME) == []
    assert [problem.kind for problem in inspector.problems(other)] == [Kind.DUPLICATE]


@pytest.mark.parametrize(
    "change", [{"cell": 6.001 * np.eye(3)}, {"cell": None}, {"symbols": ("H", "O", "O")}, {"positions": np.eye(3)}]
)
def test_other_structures(change: dict[str, object]) -> None:
    assert fingerprint(replace(FRAME, **change)) != fingerprint(FRAME)  # type: ignore[arg-type]


def test_minus_zero_is_zero() -> None:
    assert fingerprint(replace(FRAME, positions=FRAME.positions * [1, 1, -1.0])) == fingerprint(FRAME)


def test_seen_is_a_set_of_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Seen, "RECENT", 16)
    rng = np.random.default_rng(0)
    values = rng.integers(0, 1 << 64, 500, dtype=np.uint64).tolist()
    seen, reference = Seen(), set()
    for value in [*values, *values[::-3], 0, 0]:
        assert seen.add(value) == (value in reference)
        reference.add(value)
    assert sum(len(run) for run in seen.runs) + len(seen.recent) == len(reference)
    assert len(seen.runs) <= np.log2(len(reference))
    assert all(run.dtype == np.uint64 for run in seen.runs)
