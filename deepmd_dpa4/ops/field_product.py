"""Products of band-limited fields, through a quadrature grid or through the coupling coefficients it stands for.

On the sphere the coupling is the Gaunt tensor product (Luo et al., arXiv 2401.10216; theory 5.4).
"""

import numpy as np
import torch
from torch import Tensor

from deepmd_dpa4.ops.operation import OnCpu, OnCuda, Operation

# Longer lists of coupling coefficients take seconds to make.
COUPLED_ROWS = 256


class FieldProduct(Operation):
    r"""Product :math:`\Phi[T(left) \odot T(right)]` of fields (rows, N, .) for the tables of one grid.

    It stands for the coupling :math:`y_c = \sum_{ab} C_{abc} l_a r_b`, whose few coefficients take several times fewer
    operations than the grid at any degree.

    Parameters
    ----------
    to_grid, from_grid : np.ndarray
        T (points, rows) and :math:`\Phi` (rows, points).
    dtype : torch.dtype
        Precision of the tables.
    """

    to_grid: Tensor
    from_grid: Tensor
    coupling_index: Tensor
    coupling_value: Tensor

    def __init__(self, to_grid: np.ndarray, from_grid: np.ndarray, dtype: torch.dtype) -> None:
        super().__init__()
        self.coupled = to_grid.shape[1] <= COUPLED_ROWS
        if self.coupled:
            index, value = coupling_entries(to_grid, from_grid)
        else:
            index, value = np.zeros((0, 3), np.int32), np.zeros(0)
        self.register_buffer("coupling_index", torch.tensor(index), persistent=False)
        for name, table in (("to_grid", to_grid), ("from_grid", from_grid), ("coupling_value", value)):
            self.register_buffer(name, torch.tensor(table, dtype=dtype), persistent=False)

    def forward(self, left: Tensor, right: Tensor, branch_weight: Tensor | None) -> Tensor:
        """Multiply left and right (rows, N, B * W), summed over branches of weight (N, B) if given: (rows, N, W)."""
        return grid_multiply(left, right, self.to_grid, self.from_grid, branch_weight)


class CpuFieldProduct(OnCpu, FieldProduct):
    """By ``dpa4::couple``, which sums the coupling coefficients, if their list is short enough.

    Reduced precision, also that of autocast, is left to matrix products.
    """

    def forward(self, left: Tensor, right: Tensor, branch_weight: Tensor | None) -> Tensor:
        if not self.coupled or left.is_cuda or left.dtype != self.coupling_value.dtype:
            return grid_multiply(left, right, self.to_grid, self.from_grid, branch_weight)
        return couple_multiply(left, right, self.coupling_index, self.coupling_value, branch_weight)


class TritonFieldProduct(OnCuda, FieldProduct):
    """By ``dpa4_triton::couple``, if the list of coefficients is short enough.

    Reduced precision is left to matrix products.
    """

    def prepare(self) -> None:
        from deepmd_dpa4.ops.triton.couple import tables_of

        index, value = self.coupling_index.cpu().numpy(), self.coupling_value.cpu().numpy()
        for name, table in tables_of(index, value, self.to_grid.shape[1]).items():
            self.register_buffer(name, torch.tensor(table, device=self.to_grid.device), persistent=False)

    def forward(self, left: Tensor, right: Tensor, branch_weight: Tensor | None) -> Tensor:
        if not self.coupled or left.dtype != self.coupling_value.dtype:
            return grid_multiply(left, right, self.to_grid, self.from_grid, branch_weight)
        from deepmd_dpa4.ops.triton.couple import couple

        names = [f"{kind}_{part}" for kind in ("product", "adjoint") for part in ("first", "factors", "value")]
        rows, nodes, width = left.shape
        left = weigh_branches(left, branch_weight)
        columns = [factor.reshape(rows, nodes * width).contiguous() for factor in (left, right)]
        product = couple(*columns, *(getattr(self, name) for name in names))
        return sum_branches(product.view(rows, nodes, width), branch_weight)


def grid_multiply(
    left: Tensor, right: Tensor, to_grid: Tensor, from_grid: Tensor, branch_weight: Tensor | None
) -> Tensor:
    r"""Compute :math:`\Phi[T(left) \odot T(right)]`, summed over routed branches.

    Parameters
    ----------
    left, right : Tensor
        Coefficients, (rows, N, B * W) with B branches outside of W channels.
    to_grid, from_grid : Tensor
        T (points, rows) and :math:`\Phi` (rows, points).
    branch_weight : Tensor or None
        Weight of each branch at each node, (N, B); None if B = 1.

    Returns
    -------
    Tensor
        (rows, N, W).
    """
    rows, nodes, width = left.shape
    points = to_grid.shape[0]
    if branch_weight is not None:
        branches = branch_weight.shape[1]
        left = left.view(rows, nodes, branches, width // branches) * branch_weight.unsqueeze(2)
    product = (to_grid @ left.reshape(rows, nodes * width)) * (to_grid @ right.reshape(rows, nodes * width))
    if branch_weight is not None:
        branches = branch_weight.shape[1]
        width = width // branches
        product = product.view(points, nodes, branches, width).sum(dim=2)
    return (from_grid @ product.view(points, nodes * width)).view(rows, nodes, width)


def coupling_entries(to_grid: np.ndarray, from_grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""List the sparse coupling :math:`C_{abc} = \sum_g \Phi_{cg} T_{ga} T_{gb}` of a grid for ``dpa4::couple``.

    Parameters
    ----------
    to_grid, from_grid : np.ndarray
        T (points, rows) and :math:`\Phi` (rows, points).

    Returns
    -------
    index : np.ndarray
        Rows (a, b, c) of the entries with a <= b, which stand for (b, a, c) too, int32 (n, 3). Ordered by a, then by
        the number of entries of a pair (a, b), which lets loops over them have a fixed length.
    value : np.ndarray
        Coefficients (n,); those below 1e-12 of the largest with the same a are rounding and left out.
    """
    found_index, found_value = [], []
    for a in range(to_grid.shape[1]):
        plane = (from_grid @ (to_grid[:, a, None] * to_grid[:, a:])).T
        kept = np.abs(plane) > 1e-12 * np.abs(plane).max()
        b, c = np.nonzero(kept)
        order = np.lexsort((c, b, kept.sum(axis=1)[b]))
        b, c = b[order], c[order]
        found_index.append(np.stack([np.full_like(b, a), a + b, c], axis=1))
        found_value.append(plane[b, c])
    return np.concatenate(found_index).astype(np.int32), np.concatenate(found_value)


def couple_multiply(left: Tensor, right: Tensor, index: Tensor, value: Tensor, branch_weight: Tensor | None) -> Tensor:
    """Compute :func:`grid_multiply` with the entries of :func:`coupling_entries`; needs the native kernels."""
    rows, nodes, width = left.shape
    left, columns = weigh_branches(left, branch_weight), nodes * width
    product = torch.ops.dpa4.couple(left.reshape(rows, columns), right.reshape(rows, columns), index, value)
    return sum_branches(product.view(rows, nodes, width), branch_weight)


def weigh_branches(left: Tensor, branch_weight: Tensor | None) -> Tensor:
    """Multiply each branch of (rows, N, B * W) by its weight at each node: (rows, N, B * W), or (rows, N, B, W)."""
    if branch_weight is None:
        return left
    rows, nodes, width = left.shape
    branches = branch_weight.shape[1]
    return left.view(rows, nodes, branches, width // branches) * branch_weight.unsqueeze(2)


def sum_branches(product: Tensor, branch_weight: Tensor | None) -> Tensor:
    """Sum (rows, N, B * W) over branches: (rows, N, W)."""
    if branch_weight is None:
        return product
    rows, nodes, width = product.shape
    branches = branch_weight.shape[1]
    return product.view(rows, nodes, branches, width // branches).sum(dim=2)


def grid_multiply_scalar(left: Tensor, right: Tensor, coupling: Tensor, branch_weight: Tensor | None) -> Tensor:
    r"""Compute row (0, 0) of :func:`grid_multiply` alone, (N, W).

    That row of the coupling is diagonal, ``coupling`` (rows,).
    """
    product = ((left * right) * coupling[:, None, None]).sum(dim=0)
    if branch_weight is not None:
        nodes, branches = branch_weight.shape[0], branch_weight.shape[1]
        split = product.view(nodes, branches, product.shape[1] // branches)
        product = (split * branch_weight.unsqueeze(2)).sum(dim=1)
    return product
