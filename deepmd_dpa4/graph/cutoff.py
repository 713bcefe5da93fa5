"""Cutoff envelope and the inner clamp of zone bridging."""

import math

import torch
from torch import Tensor, nn


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
    """

    def __init__(self, r_inner: float, r_outer: float) -> None:
        super().__init__()
        self.r_inner, self.r_outer = r_inner, r_outer

    def forward(self, distance: Tensor) -> Tensor:
        width = self.r_outer - self.r_inner
        t = ((distance - self.r_inner) / width).clamp(0.0, 1.0)
        t4 = t * t * t * t
        inside = self.r_inner + width * t4 * (20.0 + t * (-45.0 + t * (36.0 - 10.0 * t)))
        return torch.where(distance < self.r_outer, inside, distance)

    def gate(self, clamped: Tensor) -> Tensor:
        """Compute the edge factor of the source gate: 0 for a frozen pair, 1 from ``r_outer`` on."""
        t = ((clamped - self.r_inner) / (self.r_outer - self.r_inner)).clamp(0.0, 1.0)
        t4 = t * t * t * t
        return t4 * (35.0 + t * (-84.0 + t * (70.0 - 20.0 * t)))
