"""Index maps of (l, m)."""

import pytest

from deepmd_dpa4.so3.layout import (
    edge_rows,
    frame_orders,
    frame_rows,
    group_size,
    inverse_rotation_rescale,
    packed_degrees,
    packed_index,
)


@pytest.mark.parametrize(("lmax", "mmax"), [(0, 0), (2, 1), (3, 2), (4, 4), (5, 1)])
def test_edge_rows_are_the_kept_orders_grouped(lmax: int, mmax: int) -> None:
    rows = edge_rows(lmax, mmax)
    kept = {(l, m) for l in range(lmax + 1) for m in range(-l, l + 1) if abs(m) <= mmax}
    assert len(rows) == len(set(rows)) and set(rows) == kept
    assert [abs(m) for _, m in rows] == sorted(abs(m) for _, m in rows)
    assert [group_size(lmax, m) for m in range(mmax + 1)] == [
        sum(abs(order) == m for _, order in rows) for m in range(mmax + 1)
    ]


def test_packed_index_counts_up() -> None:
    packed = [packed_index(l, m) for l in range(5) for m in range(-l, l + 1)]
    assert packed == list(range(25))
    assert packed_degrees(2) == [0, 1, 1, 1, 2, 2, 2, 2, 2]


def test_rescale() -> None:
    kappa = inverse_rotation_rescale(2, 1)
    assert kappa == pytest.approx([1.0] * 4 + [(5 / 3) ** 0.5] * 5)
    assert inverse_rotation_rescale(3, 3) == [1.0] * 16


def test_frames() -> None:
    assert frame_orders(2) == [0, -1, 1, -2, 2]
    live = frame_rows(1, 2)
    assert live == [(0, 0, 0)] + [(1, m, k) for m in (-1, 0, 1) for k in (0, 1, 2)]
