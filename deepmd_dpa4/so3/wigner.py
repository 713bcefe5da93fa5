r"""Rows of the rotation matrices :math:`D^l(R)` with :math:`S_l(Ru) = D^l(R)\,S_l(u)`.

Only rows with |m| <= M are ever used. Write :math:`e_1, e_2, u` for the rows of R and :math:`n = e_1 + i e_2`. The
row m = 0 is :math:`S_l(u)`. Polarising the symmetric multilinear form behind :math:`S_l` in m arguments gives

.. math:: t^{(m)}_l = \Pi_l\,(n \otimes t^{(m-1)}_{l-1}), \qquad t^{(0)}_l = S_l(u),

with the projection :math:`\Pi_l` of :func:`deepmd_dpa4.so3.harmonics.degree_raising`. Because n is a null vector,
:math:`t^{(m)}_l` transforms as the component m, and its real and imaginary parts are the rows +m and -m up to a
constant, which is read off at R = 1. All of it is polynomial in R: smooth at the poles, differentiable to any order.
Theory 1.4; the derivation replaces the quaternion polynomials of the reference.
"""

import numpy as np
import torch
from torch import Tensor, nn

from deepmd_dpa4.so3.harmonics import degree_raising
from deepmd_dpa4.so3.layout import edge_rows, packed_index


class DegreeRaising(nn.Module):
    r"""Bilinear map :math:`(a, t_{l-1}) \mapsto \Pi_l(a \otimes t_{l-1})`, (E, 3) x (E, 2l-1) -> (E, 2l+1)."""

    coupling: Tensor

    def __init__(self, degree: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("coupling", torch.tensor(degree_raising(degree), dtype=dtype), persistent=False)

    def forward(self, vector: Tensor, lower: Tensor) -> Tensor:
        return (vector.unsqueeze(2) * lower.unsqueeze(1)).flatten(1) @ self.coupling


class WignerRows(nn.Module):
    """Rows |m| <= ``mmax`` of D for all degrees up to ``lmax``, in edge order.

    Parameters
    ----------
    lmax, mmax : int
        Highest degree and order.
    dtype : torch.dtype
        Precision of the constants.
    """

    position: Tensor
    scale: Tensor
    coupling: Tensor
    factors: Tensor

    def __init__(self, lmax: int, mmax: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.lmax, self.mmax = lmax, mmax
        self.size = (lmax + 1) ** 2
        self.n_rows = len(edge_rows(lmax, mmax))
        self.raising = nn.ModuleList([DegreeRaising(degree, dtype) for degree in range(1, lmax + 1)])
        position, scale = self._placement()
        self.register_buffer("position", torch.tensor(position), persistent=False)
        self.register_buffer("scale", torch.tensor(scale, dtype=dtype), persistent=False)
        coupling, factors = _raising_terms(lmax)
        self.register_buffer("coupling", torch.tensor(coupling, dtype=torch.int64).view(-1, 4), persistent=False)
        self.register_buffer("factors", torch.tensor(scale + factors, dtype=dtype), persistent=False)

    def _placement(self) -> tuple[list[int], list[float]]:
        """Where each computed value stands in a row-major (n_rows, size) matrix, and its constant."""
        row_of = {row: index for index, row in enumerate(edge_rows(self.lmax, self.mmax))}
        position, scale = [], []
        for degree in range(self.lmax + 1):
            for order in range(min(self.mmax, degree) + 1):
                real, imaginary = _polarised_at_identity(degree, order)
                for sign, value in ((1, real), (-1, imaginary))[: 1 if order == 0 else 2]:
                    row = row_of[degree, sign * order]
                    start = row * self.size + packed_index(degree, -degree)
                    position += list(range(start, start + 2 * degree + 1))
                    scale += [1.0 / value[degree + sign * order]] * (2 * degree + 1)
        return position, scale

    def forward(self, first: Tensor, second: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
        """Compute rows of D(R) for rotations R with rows ``first``, ``second``, ``direction``, (E, 3) each.

        Returns
        -------
        tuple[Tensor, Tensor]
            S_lm(direction), (E, (lmax + 1)**2) packed, and the entries of the rows of D inside its blocks, (E, nnz):
            degree after degree, in each the rows 0, +1, -1, +2, -2, ..., 2 l + 1 entries a row.
        """
        e1, e2, u = to_first_degree(first), to_first_degree(second), to_first_degree(direction)
        one = torch.ones_like(direction[:, :1])
        real, imaginary = [one], [one]
        zonal, values = [one], [one]
        degree = 0
        for raise_degree in self.raising:
            degree += 1
            next_real = [raise_degree(u, real[0])]
            next_imaginary = [next_real[0]]
            zonal.append(next_real[0])
            values.append(next_real[0])
            for order in range(1, min(self.mmax, degree) + 1):
                re = raise_degree(e1, real[order - 1])
                im = raise_degree(e2, real[order - 1])
                if order > 1:
                    re = re - raise_degree(e2, imaginary[order - 1])
                    im = im + raise_degree(e1, imaginary[order - 1])
                next_real.append(re)
                next_imaginary.append(im)
                values.append(re)
                values.append(im)
            real, imaginary = next_real, next_imaginary
        return torch.cat(zonal, dim=1), torch.cat(values, dim=1) * self.scale

    def dense(self, compact: Tensor) -> Tensor:
        """Put the entries (E, nnz) at their places in the rows of D, edge order: (E, n_rows, (lmax + 1)**2)."""
        return place_rows(compact, self.position, self.n_rows, self.size)


def place_rows(compact: Tensor, position: Tensor, n_rows: int, size: int) -> Tensor:
    """Put entries (E, nnz) at the places ``position`` (nnz,) of row-major matrices that are zero elsewhere."""
    matrix = compact.new_zeros([compact.shape[0], n_rows * size]).index_copy(1, position, compact)
    return matrix.view(-1, n_rows, size)


def to_first_degree(vector: Tensor) -> Tensor:
    """Turn a vector into S_1: (x, y, z) -> (y, z, -x)."""
    return torch.stack([vector[:, 1], vector[:, 2], -vector[:, 0]], dim=1)


def _raising_terms(lmax: int) -> tuple[list[tuple[int, int, int, int]], list[float]]:
    """Nonzero entries of all maps that raise the degree, as the native operator takes them.

    Returns
    -------
    tuple
        Degree, axis of the vector, entry of degree l - 1 and entry of degree l of each term; its factor.
    """
    coupling, factors = [], []
    for degree in range(1, lmax + 1):
        matrix = degree_raising(degree).reshape(3, 2 * degree - 1, 2 * degree + 1)
        for component, lower, upper in np.argwhere(np.abs(matrix) > 1e-12).tolist():
            # S_1 of (x, y, z) is (y, z, -x)
            axis, sign = ((1, 1.0), (2, 1.0), (0, -1.0))[component]
            coupling.append((degree, axis, lower, upper))
            factors.append(sign * float(matrix[component, lower, upper]))
    return coupling, factors


def _polarised_at_identity(degree: int, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Real and imaginary part of t at R = 1, (2 degree + 1) each; only the entries of +-order differ from zero."""
    null = np.array([0.0, 0.0, -1.0]) + 1j * np.array([1.0, 0.0, 0.0])
    pole = np.array([0.0, 1.0, 0.0])
    value = np.ones(1, dtype=complex)
    for step in range(1, degree + 1):
        vector = null if step > degree - order else pole
        value = np.outer(vector, value).ravel() @ degree_raising(step)
    return value.real, value.imag
