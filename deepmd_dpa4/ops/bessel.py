"""Radial basis of Bessel functions with its envelope, or without."""

import torch
from torch import Tensor

from deepmd_dpa4.graph.cutoff import CutoffEnvelope
from deepmd_dpa4.graph.radial import bessel_functions
from deepmd_dpa4.ops.operation import OnCpu, Operation

FAR = 1e30
"""A cutoff in Angstrom whose envelope is 1 at every distance, and its derivatives 0, without rounding."""


class EnvelopedBessel(Operation):
    r""":math:`\mathrm{env}_p(r)\,\sin(\omega_n r)/r`, distances (E,) in Angstrom to (E, n_radial).

    Parameters
    ----------
    rcut : float
        Cutoff in Angstrom.
    exponent : int, optional
        Exponent p of the envelope; None stands for no envelope, :math:`\sin(\omega_n r)/r` (theory 2.3).
    """

    def __init__(self, rcut: float, exponent: int | None) -> None:
        super().__init__()
        self.rcut = FAR if exponent is None else rcut
        self.exponent = 1 if exponent is None else exponent
        self.envelope = None if exponent is None else CutoffEnvelope(rcut, exponent)

    def forward(self, distance: Tensor, frequencies: Tensor) -> Tensor:
        return self.evaluate(distance, frequencies)

    def evaluate(self, distance: Tensor, frequencies: Tensor) -> Tensor:
        """Define the operation in plain torch."""
        values = bessel_functions(distance, frequencies)
        if self.envelope is not None:
            values = values * self.envelope(distance).unsqueeze(1)
        return values


class CpuEnvelopedBessel(OnCpu, EnvelopedBessel):
    """By ``dpa4::bessel_basis``."""

    def forward(self, distance: Tensor, frequencies: Tensor) -> Tensor:
        if distance.is_cuda:
            return self.evaluate(distance, frequencies)
        return torch.ops.dpa4.bessel_basis(distance, frequencies, self.rcut, self.exponent)
