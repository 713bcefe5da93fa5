"""Both bases of real harmonics against closed forms and each other."""

import numpy as np

from deepmd_dpa4.so3.harmonics import backbone_harmonics, degree_raising, grid_harmonics, real_harmonics
from tests.support.rotations import random_directions

U = random_directions(40).numpy()


def test_first_degree() -> None:
    x, y, z = U.T
    np.testing.assert_allclose(backbone_harmonics(1, U)[:, 1:], np.stack([y, z, -x], 1), rtol=0, atol=1e-15)
    np.testing.assert_allclose(grid_harmonics(1, U)[:, 1:], np.stack([x, y, z], 1), rtol=0, atol=1e-15)


def test_each_degree_has_unit_norm() -> None:
    for values in (backbone_harmonics(6, U), grid_harmonics(6, U)):
        for l in range(7):
            np.testing.assert_allclose((values[:, l * l : (l + 1) ** 2] ** 2).sum(1), 1.0, rtol=0, atol=1e-13)


def test_signs_of_the_backbone_basis() -> None:
    """S_lm = (-1)^m Y_lm and S_l-m = (-1)^(m+1) Y_l-m for m > 0."""
    s, y = backbone_harmonics(4, U), real_harmonics(4, U)
    for l in range(5):
        for m in range(1, l + 1):
            p, n = l * l + l + m, l * l + l - m
            np.testing.assert_allclose(s[:, p], (-1) ** m * y[:, p], rtol=0, atol=1e-14)
            np.testing.assert_allclose(s[:, n], (-1) ** (m + 1) * y[:, n], rtol=0, atol=1e-14)


def test_zonal_harmonics_are_legendre_polynomials() -> None:
    values = real_harmonics(5, U)
    for l in range(6):
        legendre = np.polynomial.legendre.Legendre.basis(l)(U[:, 2])
        np.testing.assert_allclose(values[:, l * l + l], legendre, rtol=0, atol=1e-14)


def test_raising_the_degree() -> None:
    values = backbone_harmonics(6, U)
    for l in range(1, 7):
        lower, upper = values[:, (l - 1) ** 2 : l * l], values[:, l * l : (l + 1) ** 2]
        product = np.einsum("na,nb->nab", values[:, 1:4], lower).reshape(len(U), -1)
        np.testing.assert_allclose(product @ degree_raising(l), upper, rtol=0, atol=1e-13)
