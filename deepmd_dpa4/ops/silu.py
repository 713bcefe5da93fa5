r"""The activation :math:`x\,\sigma(x)`."""

import torch
from torch import Tensor
from torch.nn import functional

from deepmd_dpa4.ops.operation import OnCpu, Operation


class Silu(Operation):
    """SiLU of a tensor of any shape."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(x)


class CpuSilu(OnCpu, Silu):
    """By ``dpa4::silu``, whose derivatives share their exponentials."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(x) if x.is_cuda else torch.ops.dpa4.silu(x)
