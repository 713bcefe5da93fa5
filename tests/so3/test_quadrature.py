"""The quadrature rules integrate what the grid products need exactly (theory 5.5)."""

import math

import numpy as np
import pytest
import torch

from deepmd_dpa4.so3.harmonics import backbone_harmonics, grid_harmonics
from deepmd_dpa4.so3.layout import edge_rows, frame_rows
from deepmd_dpa4.so3.quadrature import lebedev_points, product_points, s2_tables, so3_tables
from tests.support.rotations import wigner_matrix

POINTS = {0: 6, 1: 6, 2: 26, 3: 38, 4: 74, 5: 86, 6: 146, 7: 170, 8: 230, 9: 266, 10: 350}


@pytest.mark.parametrize("lmax", POINTS)
def test_lebedev_rule_of_each_degree(lmax: int) -> None:
    points, weights = lebedev_points(lmax)
    assert len(points) == len(weights) == POINTS[lmax]
    assert weights.sum() == pytest.approx(1.0, abs=1e-14)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1.0, rtol=0, atol=1e-14)
    # every harmonic up to 3 lmax integrates to zero but the constant
    integrals = weights @ backbone_harmonics(3 * lmax, points)
    np.testing.assert_allclose(integrals[1:], 0.0, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("n_theta", "n_phi"), [(8, 6), (12, 12), (18, 6)])
def test_product_grid(n_theta: int, n_phi: int) -> None:
    points, weights = product_points(n_theta, n_phi)
    assert len(points) == n_theta * n_phi
    assert weights.sum() == pytest.approx(1.0, abs=1e-14)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1.0, rtol=0, atol=1e-14)
    degree = min(n_theta, n_phi) - 1
    integrals = weights @ grid_harmonics(degree, points)
    np.testing.assert_allclose(integrals[1:], 0.0, rtol=0, atol=1e-13)


@pytest.mark.parametrize("lebedev", [True, False])
@pytest.mark.parametrize(("lmax", "mmax"), [(0, 0), (1, 1), (2, 1), (3, 1), (3, 3), (5, 1), (5, 2)])
def test_s2_tables_invert_each_other(lmax: int, mmax: int, lebedev: bool) -> None:
    """Phi T is the identity, up to the rescale of degrees that lost orders, in edge and in packed order."""
    to_grid, from_grid = s2_tables(lmax, mmax, lebedev, edge_order=True, square=False)
    kappa = [(2 * l + 1) / (2 * mmax + 1) if l > mmax else 1.0 for l, _ in edge_rows(lmax, mmax)]
    np.testing.assert_allclose(from_grid @ to_grid, np.diag(kappa), rtol=0, atol=1e-12)
    to_grid, from_grid = s2_tables(lmax, lmax, lebedev, edge_order=False, square=True)
    np.testing.assert_allclose(from_grid @ to_grid, np.eye((lmax + 1) ** 2), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("lmax", "kmax"), [(0, 0), (1, 1), (2, 0), (2, 1), (3, 2), (5, 1)])
def test_so3_tables_invert_each_other(lmax: int, kmax: int) -> None:
    to_grid, from_grid = so3_tables(lmax, kmax)
    assert to_grid.shape == (POINTS[lmax] * (3 * kmax + 1), len(frame_rows(lmax, kmax)))
    np.testing.assert_allclose(from_grid @ to_grid, np.eye(to_grid.shape[1]), rtol=0, atol=1e-12)


def couplings(to_grid: np.ndarray, from_grid: np.ndarray) -> np.ndarray:
    return np.einsum("rg,ga,gb->rab", from_grid, to_grid, to_grid)


@pytest.mark.parametrize(("lmax", "mmax"), [(2, 1), (3, 1), (3, 3)])
def test_product_of_fields_does_not_depend_on_the_rule(lmax: int, mmax: int) -> None:
    """Lebedev and product grid give the same trilinear coupling: both are exact."""
    tables = [s2_tables(lmax, mmax, lebedev, edge_order=True, square=False) for lebedev in (True, False)]
    np.testing.assert_allclose(couplings(*tables[0]), couplings(*tables[1]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("lmax", [1, 2, 3])
def test_s2_coupling_commutes_with_rotations(lmax: int) -> None:
    """Turning both fields turns the product, in the basis of the grid."""
    to_grid, from_grid = s2_tables(lmax, lmax, True, edge_order=False, square=True)
    coupling = couplings(to_grid, from_grid)
    # a rotation in the grid basis, from its definition on enough points
    angle = 0.7
    turn = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    turn = turn @ np.array([[1, 0, 0], [0, math.cos(1.1), -math.sin(1.1)], [0, math.sin(1.1), math.cos(1.1)]])
    points, _ = lebedev_points(lmax)
    matrix = np.linalg.lstsq(grid_harmonics(lmax, points), grid_harmonics(lmax, points @ turn.T), rcond=None)[0].T
    turned = np.einsum("rab,ac,bd->rcd", coupling, matrix, matrix)
    np.testing.assert_allclose(turned, np.einsum("rs,scd->rcd", matrix, coupling), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("lmax", "kmax"), [(2, 1), (3, 1), (2, 2)])
def test_so3_coupling_commutes_with_rotations(lmax: int, kmax: int) -> None:
    coupling = couplings(*so3_tables(lmax, kmax))
    rows = frame_rows(lmax, kmax)
    axis = torch.tensor([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]], dtype=torch.float64)
    packed = wigner_matrix(axis, lmax).numpy()
    index = np.array([l * l + l + m for l, m, _ in rows])
    slot = np.array([k for _, _, k in rows])
    matrix = packed[np.ix_(index, index)] * (slot[:, None] == slot[None, :])
    turned = np.einsum("rab,ac,bd->rcd", coupling, matrix, matrix)
    np.testing.assert_allclose(turned, np.einsum("rs,scd->rcd", matrix, coupling), rtol=0, atol=1e-12)
