"""Radial basis of Bessel functions with its envelope."""

import torch
from torch import Tensor

from deepmd_dpa4.graph.cutoff import CutoffEnvelope
from deepmd_dpa4.graph.radial import bessel_functions
from deepmd_dpa4.ops.operation import OnCpu, Operation


class EnvelopedBessel(Operation):
    r""":math:`\mathrm{env}_p(r)\,\sin(\omega_n r)/r`, distances (E,) in Angstrom to (E, n_radial)."""

    def __init__(self, rcut: float, exponent: int) -> None:
        super().__init__()
        self.rcut, self.exponent = rcut, exponent
        self.envelope = CutoffEnvelope(rcut, exponent)

    def forward(self, distance: Tensor, frequencies: Tensor) -> Tensor:
        return bessel_functions(distance, frequencies) * self.envelope(distance).unsqueeze(1)


class CpuEnvelopedBessel(OnCpu, EnvelopedBessel):
    """By ``dpa4::bessel_basis``."""

    def forward(self, distance: Tensor, frequencies: Tensor) -> Tensor:
        if distance.is_cuda:
            return bessel_functions(distance, frequencies) * self.envelope(distance).unsqueeze(1)
        return torch.ops.dpa4.bessel_basis(distance, frequencies, self.rcut, self.exponent)
