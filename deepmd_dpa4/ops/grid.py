"""Products of band-limited fields through a quadrature grid."""

from torch import Tensor


def grid_multiply(
    left: Tensor, right: Tensor, to_grid: Tensor, from_grid: Tensor, branch_weight: Tensor | None
) -> Tensor:
    r""":math:`\Phi[T(left) \odot T(right)]`, summed over routed branches.

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


def grid_multiply_scalar(left: Tensor, right: Tensor, coupling: Tensor, branch_weight: Tensor | None) -> Tensor:
    r"""Row (0, 0) of :func:`grid_multiply` alone, (N, W).

    That row of the coupling is diagonal, ``coupling`` (rows,).
    """
    product = ((left * right) * coupling[:, None, None]).sum(dim=0)
    if branch_weight is not None:
        nodes, branches = branch_weight.shape[0], branch_weight.shape[1]
        split = product.view(nodes, branches, product.shape[1] // branches)
        product = (split * branch_weight.unsqueeze(2)).sum(dim=1)
    return product
