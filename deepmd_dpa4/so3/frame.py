r"""Edge frames: a rotation that turns the direction of an edge to +z.

Any frame with :math:`R_e u = \hat z` gives the same energies, forces and parameter gradients (theory 1.5), so
the two closed forms that are regular at one pole each are switched hard at the equator.
"""

import torch
from torch import Tensor


def edge_frame(direction: Tensor) -> tuple[Tensor, Tensor]:
    r"""Compute the first two rows of the rotation with :math:`R_e u = \hat z`; the third row is u itself.

    With :math:`s = \pm 1` the sign of :math:`u_z` and :math:`a = 1/(1+|u_z|)` the rows are
    :math:`s\,(1 - a u_x^2, -a u_x u_y, -s u_x)` and :math:`(-a u_x u_y, 1 - a u_y^2, -s u_y)`.

    Parameters
    ----------
    direction : Tensor
        Unit vectors u, shape (E, 3).

    Returns
    -------
    tuple[Tensor, Tensor]
        Orthonormal rows, (E, 3) each; with u they form a right-handed frame.
    """
    x, y, z = direction.unbind(1)
    sign = torch.where(z < 0, -torch.ones_like(z), torch.ones_like(z))
    inverse = 1.0 / (1.0 + z * sign)
    mixed = -x * y * inverse
    first = torch.stack([sign * (1.0 - x * x * inverse), sign * mixed, -x], dim=1)
    second = torch.stack([mixed, 1.0 - y * y * inverse, -sign * y], dim=1)
    return first, second


def roll_frame(first: Tensor, second: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """Turn a frame about its edge by ``angle`` (E, 1): the gauge freedom of the network."""
    cosine, sine = torch.cos(angle), torch.sin(angle)
    return cosine * first - sine * second, sine * first + cosine * second
