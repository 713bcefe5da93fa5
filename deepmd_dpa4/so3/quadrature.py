r"""Tables of the S2 and SO(3) grids.

A grid operation is a product of two band-limited fields followed by projection on the band. The rules below
integrate such products exactly, so the operation is a fixed trilinear coupling, independent of the points, and
commutes with rotations to rounding (theory 5.5). All tables are built in fp64.
"""

import math

import numpy as np
import torch

from deepmd_dpa4.so3.frame import edge_frame, roll_frame
from deepmd_dpa4.so3.harmonics import grid_harmonics, lebedev_at_least
from deepmd_dpa4.so3.layout import edge_rows, frame_orders, frame_rows, inverse_rotation_rescale, packed_index
from deepmd_dpa4.so3.wigner import WignerRows


def lebedev_points(lmax: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the smallest Lebedev rule of algebraic degree >= 3 lmax: points (n, 3), weights (n,) of sum 1."""
    return lebedev_at_least(3 * lmax)


def product_points(n_theta: int, n_phi: int) -> tuple[np.ndarray, np.ndarray]:
    """Make the product grid of ``n_theta`` latitudes and ``n_phi`` longitudes: points (n, 3), weights (n,) of sum 1."""
    half = n_theta // 2
    latitude = math.pi * (np.arange(n_theta) + 0.5) / n_theta
    longitude = 2 * math.pi * np.arange(n_phi) / n_phi
    odd = 2 * np.arange(half) + 1
    series = np.sin(np.outer(2 * np.arange(n_theta) + 1, odd) * math.pi / (4 * half)) / odd
    weight = np.sin(math.pi * (2 * np.arange(n_theta) + 1) / (4 * half)) * series.sum(axis=1) / half
    theta, phi = np.meshgrid(latitude, longitude, indexing="ij")
    points = np.stack([np.sin(theta) * np.sin(phi), np.cos(theta), np.sin(theta) * np.cos(phi)], axis=-1)
    return points.reshape(-1, 3), np.repeat(weight / n_phi, n_phi)


def s2_tables(lmax: int, mmax: int, lebedev: bool, *, edge_order: bool, square: bool) -> tuple[np.ndarray, np.ndarray]:
    r"""Tabulate T (points, rows) and :math:`\Phi` (rows, points) of an S2 grid.

    Parameters
    ----------
    lmax, mmax : int
        Band limit of the fields.
    lebedev : bool
        Lebedev points, else a product grid.
    edge_order : bool
        Rows in edge order with |m| <= mmax, else all rows in packed order.
    square : bool
        Product grid with as many longitudes as latitudes, as node-wise nets use it.
    """
    if lebedev:
        points, weights = lebedev_points(lmax)
    else:
        n_phi, n_theta = 2 * mmax + 4, 2 * math.ceil((3 * lmax + 2) / 2)
        if square:
            n_phi = n_theta = max(n_phi, n_theta)
        points, weights = product_points(n_theta, n_phi)
    rows = edge_rows(lmax, mmax) if edge_order else packed_rows(lmax)
    index = [packed_index(degree, order) for degree, order in rows]
    degrees = np.array([degree for degree, _ in rows])
    kappa = np.array(inverse_rotation_rescale(lmax, mmax))[index]
    values = grid_harmonics(lmax, points)[:, index] * kappa
    to_grid = values / math.sqrt(lmax + 1)
    from_grid = (values * weights[:, None] * (2 * degrees + 1) * math.sqrt(lmax + 1)).T
    return to_grid, from_grid


def so3_tables(lmax: int, kmax: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Tabulate T (points, rows) and :math:`\Phi` (rows, points) of an SO(3) grid; rows are the live Wigner frames."""
    points, weights = lebedev_points(lmax)
    n_roll = 3 * kmax + 1 if kmax > 0 else 1
    direction = torch.tensor(points).repeat_interleave(n_roll, dim=0)
    angle = (2 * math.pi * torch.arange(n_roll, dtype=torch.float64) / n_roll).repeat(len(points)).unsqueeze(1)
    first, second = roll_frame(*edge_frame(direction), angle)
    wigner = WignerRows(lmax, kmax, torch.float64)
    _, compact = wigner(first, second, direction)
    matrices = wigner.dense(compact)
    row_of = {row: index for index, row in enumerate(edge_rows(lmax, kmax))}
    orders = frame_orders(kmax)
    live = frame_rows(lmax, kmax)
    columns = [matrices[:, row_of[l, orders[slot]], packed_index(l, m)].numpy() for l, m, slot in live]
    to_grid = np.stack(columns, axis=1)
    degrees = np.array([degree for degree, _, _ in live])
    return to_grid, (to_grid * np.repeat(weights / n_roll, n_roll)[:, None] * (2 * degrees + 1)).T


def packed_rows(lmax: int) -> list[tuple[int, int]]:
    """List all (l, m) in packed order."""
    return [(degree, order) for degree in range(lmax + 1) for order in range(-degree, degree + 1)]
