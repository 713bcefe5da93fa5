"""Cutoff envelope and the inner clamp of zone bridging."""

import math

import torch
from torch import Tensor, nn

from deepmd_dpa4.config.elements import covalent_radii
from deepmd_dpa4.config.model import BridgingConfig
from deepmd_dpa4.graph.graph import Ends


class CutoffEnvelope(nn.Module):
    r"""C3 envelope :math:`\mathrm{env}_p(r) = u^4 \sum_{k<p} \binom{k+3}{3} x^k`, u = 1 - x = clamp(1 - r/rcut, 0, 1).

    It is 1 at r = 0, and its value and three derivatives vanish at ``rcut`` (Angstrom); beyond it is exactly 0.
    Distances of any shape in, the same shape out. Source: theory 2.2.
    """

    def __init__(self, rcut: float, exponent: int) -> None:
        super().__init__()
        self.rcut = rcut
        self.coefficients = [float(math.comb(k + 3, 3)) for k in range(exponent)]

    def forward(self, distance: Tensor) -> Tensor:
        u = ((self.rcut - distance) / self.rcut).clamp(0.0, 1.0)
        x = 1.0 - u
        series = torch.zeros_like(x)
        for coefficient in self.coefficients[::-1]:
            series = series * x + coefficient
        u2 = u * u
        return u2 * u2 * series


class InnerClamp(nn.Module):
    r"""Freeze distances below ``r_inner`` and let sources with a frozen neighbour fall silent (theory 7.1, 7.2).

    With :math:`t = (r - r_1)/(r_2 - r_1)` clamped to [0, 1] the seen distance is
    :math:`\tilde r = r_1 + (r_2 - r_1)(20t^4 - 45t^5 + 36t^6 - 10t^7)` below :math:`r_2` and r above (three continuous
    derivatives), and the weight of an edge in the source gate is
    :math:`\omega(\tilde r) = 35t^4 - 84t^5 + 70t^6 - 20t^7`. Distances in Angstrom, (E,).

    Parameters
    ----------
    r_inner, r_outer : float
        :math:`r_1` and :math:`r_2` in Angstrom, or in sums of covalent radii.
    radius : Tensor, optional
        Covalent radius of each type, (ntypes,), if distances are measured in their sums.
    """

    radius: Tensor | None

    def __init__(self, r_inner: float, r_outer: float, radius: Tensor | None = None) -> None:
        super().__init__()
        self.r_inner, self.r_outer = r_inner, r_outer
        self.register_buffer("radius", radius, persistent=False)

    def contact(self, node_type: Tensor, ends: Ends) -> Tensor | None:
        """Compute the sum of the covalent radii of each edge, (E,) float64; None if distances are in Angstrom."""
        radius = self.radius
        return None if radius is None else contacts(radius, node_type, ends)

    def forward(self, distance: Tensor, contact: Tensor | None = None) -> Tensor:
        """Clamp distances; ``contact`` as :meth:`contact` computes it."""
        if contact is None:
            return self.clamped(distance)
        unit = contact.to(distance.dtype)
        return self.clamped(distance / unit) * unit

    def clamped(self, distance: Tensor) -> Tensor:
        """Clamp distances in the unit of the radii."""
        width = self.r_outer - self.r_inner
        t = ((distance - self.r_inner) / width).clamp(0.0, 1.0)
        t4 = t * t * t * t
        inside = self.r_inner + width * t4 * (20.0 + t * (-45.0 + t * (36.0 - 10.0 * t)))
        return torch.where(distance < self.r_outer, inside, distance)

    def gate(self, clamped: Tensor, contact: Tensor | None = None) -> Tensor:
        """Compute the edge factor of the source gate: 0 for a frozen pair, 1 from ``r_outer`` on."""
        if contact is not None:
            clamped = clamped / contact.to(clamped.dtype)
        return smooth_step((clamped - self.r_inner) / (self.r_outer - self.r_inner))


def smooth_step(t: Tensor) -> Tensor:
    """Rise from 0 at t = 0 to 1 at t = 1 with three continuous derivatives (theory 7.2, 7.4)."""
    t = t.clamp(0.0, 1.0)
    t4 = t * t * t * t
    return t4 * (35.0 + t * (-84.0 + t * (70.0 - 20.0 * t)))


def contacts(radius: Tensor, node_type: Tensor, ends: Ends) -> Tensor:
    """Sum the radii (ntypes,) of the two atoms of each edge, (E,)."""
    of_node = radius.index_select(0, node_type.clamp(max=radius.shape[0] - 1))
    return of_node.index_select(0, ends.sender) + of_node.index_select(0, ends.receiver)


def inner_clamp(config: BridgingConfig | None, type_map: list[str]) -> InnerClamp | None:
    """Build the inner clamp of a model; None without zone bridging."""
    if config is None or not config.enabled:
        return None
    return InnerClamp(config.bridging_r_inner, config.bridging_r_outer, contact_radii(config, type_map))


def contact_radii(config: BridgingConfig, type_map: list[str]) -> Tensor | None:
    """Collect the covalent radii of the types, (ntypes,) float64 in Angstrom; None if distances are in Angstrom."""
    return torch.tensor(covalent_radii(type_map), dtype=torch.float64) if config.in_contacts else None
