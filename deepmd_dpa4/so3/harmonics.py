r"""Real spherical harmonics of the two bases, and the map that raises the degree by one.

:math:`Y^\circ_{lm}` are the textbook real harmonics without Condon-Shortley phase, with
:math:`\sum_m Y^\circ_{lm}(u)^2 = 1` on the unit sphere. The backbone basis is
:math:`S_{lm}(x,y,z) = Y^\circ_{lm}(-x,y,z)`, the basis of the S2 grids :math:`G_{lm}(x,y,z) = Y^\circ_{lm}(z,x,y)`
(theory 1.2).
"""

import math
from functools import cache

import numpy as np
from scipy.integrate import lebedev_rule
from scipy.special import lpmv

from deepmd_dpa4.so3.layout import packed_index


def real_harmonics(lmax: int, points: np.ndarray) -> np.ndarray:
    r"""Compute :math:`Y^\circ_{lm}` at unit vectors ``points`` (n, 3), packed: (n, (lmax + 1)**2)."""
    x, y, z = np.asarray(points, dtype=np.float64).T
    azimuth = np.arctan2(y, x)
    values = np.empty((len(z), (lmax + 1) ** 2))
    for degree in range(lmax + 1):
        for order in range(degree + 1):
            # scipy's associated Legendre functions carry the phase (-1)^m that this basis leaves out
            legendre = (-1) ** order * lpmv(order, degree, z)
            if order == 0:
                values[:, packed_index(degree, 0)] = legendre
                continue
            norm = math.sqrt(2 * math.factorial(degree - order) / math.factorial(degree + order))
            values[:, packed_index(degree, order)] = norm * legendre * np.cos(order * azimuth)
            values[:, packed_index(degree, -order)] = norm * legendre * np.sin(order * azimuth)
    return values


def backbone_harmonics(lmax: int, points: np.ndarray) -> np.ndarray:
    """Compute S_lm at unit vectors (n, 3), packed: (n, (lmax + 1)**2)."""
    return real_harmonics(lmax, np.asarray(points) * np.array([-1.0, 1.0, 1.0]))


def grid_harmonics(lmax: int, points: np.ndarray) -> np.ndarray:
    """Compute G_lm at unit vectors (n, 3), packed: (n, (lmax + 1)**2)."""
    return real_harmonics(lmax, np.asarray(points)[:, [2, 0, 1]])


@cache
def degree_raising(degree: int) -> np.ndarray:
    r"""Compute the matrix A with :math:`S_l(u) = (S_1(u) \otimes S_{l-1}(u))\,A`, shape (3 (2l - 1), 2l + 1).

    A is the projection of the tensor product on degree l, scaled so that the identity above holds on the unit
    sphere. Because :math:`S_l` is a symmetric multilinear form in u, replacing k factors u by another vector gives
    the polarised form, from which the rows m = k of a rotation matrix follow (:mod:`deepmd_dpa4.so3.wigner`).
    """
    points, weights = lebedev_at_least(2 * degree)
    values = backbone_harmonics(degree, points)
    first = values[:, 1:4]
    lower = values[:, (degree - 1) ** 2 : degree**2]
    upper = values[:, degree**2 : (degree + 1) ** 2]
    coupling = np.einsum("g,ga,gn,gm->anm", weights, first, lower, upper)
    pole = backbone_harmonics(degree, np.array([[0.0, 0.0, 1.0]]))[0]
    raised = np.einsum("a,n,anm->m", pole[1:4], pole[(degree - 1) ** 2 : degree**2], coupling)
    return (coupling / raised[degree]).reshape(3 * (2 * degree - 1), 2 * degree + 1)


def lebedev_at_least(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Find points (n, 3) and weights (sum 1) of the first rule of at least this algebraic degree."""
    for candidate in range(max(order, 3), 132):
        try:
            points, weights = lebedev_rule(candidate)
        except NotImplementedError:
            continue
        return points.T, weights / weights.sum()
    raise ValueError(f"no Lebedev rule of degree {order} or more is tabulated")
