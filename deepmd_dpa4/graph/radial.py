"""Radial bases (theory 2.3)."""

import math

import torch
from torch import Tensor, nn


class BesselBasis(nn.Module):
    r"""Spherical Bessel functions :math:`\phi_n(r) = \sin(\omega_n r)/r`, initially :math:`\omega_n = n\pi/r_{cut}`.

    Distances (E,) in Angstrom to (E, n_radial). The frequencies are trained unless they are ``fixed`` (theory 2.3).
    """

    def __init__(self, rcut: float, n_radial: int, dtype: torch.dtype, fixed: bool = False) -> None:
        super().__init__()
        frequencies = torch.arange(1, n_radial + 1, dtype=torch.float64) * (math.pi / rcut)
        self.adam_freqs = nn.Parameter(frequencies.to(dtype).unsqueeze(0), requires_grad=not fixed)

    def forward(self, distance: Tensor) -> Tensor:
        return bessel_functions(distance, self.adam_freqs)


class GaussianBasis(nn.Module):
    r"""Gaussians :math:`\phi_n(r) = \exp(-(r-\mu_n)^2 / 2\delta^2)`, initially evenly spaced on [0, rcut].

    Distances (E,) in Angstrom to (E, n_radial). The centres are trained unless they are ``fixed`` (theory 2.3).
    """

    def __init__(self, rcut: float, n_radial: int, dtype: torch.dtype, fixed: bool = False) -> None:
        super().__init__()
        centres = torch.linspace(0.0, rcut, n_radial, dtype=torch.float64)
        self.adam_freqs = nn.Parameter(centres.to(dtype).unsqueeze(0), requires_grad=not fixed)
        self.width = rcut / max(n_radial - 1, 1)

    def forward(self, distance: Tensor) -> Tensor:
        scaled = (distance.unsqueeze(1) - self.adam_freqs) / self.width
        return torch.exp(-0.5 * scaled * scaled)


def bessel_functions(distance: Tensor, frequencies: Tensor) -> Tensor:
    r"""Evaluate :math:`\sin(\omega_n r)/r` for distances (E,) and frequencies (1, n_radial)."""
    r = distance.unsqueeze(1)
    return torch.sin(frequencies * r) / r
