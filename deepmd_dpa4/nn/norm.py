"""Normalisation of equivariant and of scalar features (theory 5.1)."""

import torch
from torch import Tensor, nn

from deepmd_dpa4.nn.initial import Initializer
from deepmd_dpa4.nn.linear import pad_scalars
from deepmd_dpa4.so3.layout import packed_degrees


class EquivariantRMSNorm(nn.Module):
    r"""Divide all degrees by one invariant root mean square, every degree counting equally.

    .. math::

        x_{00} \leftarrow x_{00} - \overline{x_{00}}, \quad
        x \leftarrow \frac{x}{\sqrt{\frac{1}{C(L+1)}\sum_{lmc} \frac{x_{lmc}^2}{2l+1} + \delta}} \odot s_{lc}, \quad
        x_{00} \leftarrow x_{00} + b_c.

    Input and output (D, N, C).
    """

    expand_index: Tensor
    balance_weight: Tensor

    def __init__(self, lmax: int, channels: int, delta: float, init: Initializer) -> None:
        super().__init__()
        self.delta = delta
        self.adam_scale = init.constant([lmax + 1, 1, channels], 1.0)
        self.bias = init.constant([1, channels], 0.0)
        degrees = torch.tensor(packed_degrees(lmax))
        weight = 1.0 / ((2 * degrees + 1) * (lmax + 1) * channels).to(torch.float64)
        self.register_buffer("expand_index", degrees)
        self.register_buffer("balance_weight", weight.to(init.dtype))

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.adam_scale.dtype)
        x = x - pad_scalars(x[0].mean(dim=1, keepdim=True), x.shape[0])
        variance = (x * x).sum(dim=2).mul(self.balance_weight.unsqueeze(1)).sum(dim=0)
        x = x * torch.rsqrt(variance + self.delta)[None, :, None]
        bias = pad_scalars(self.bias, x.shape[0])
        return torch.addcmul(bias, x, self.adam_scale.index_select(0, self.expand_index))


class ScalarRMSNorm(nn.Module):
    r""":math:`x / \sqrt{\overline{x^2} + 10^{-7}} \odot s` over the last axis, without centring.

    Parameters
    ----------
    shape : list[int]
        Shape of the scale, (C,), (1, C) or (streams, C).
    """

    def __init__(self, shape: list[int], init: Initializer) -> None:
        super().__init__()
        self.adam_scale = init.constant(shape, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.adam_scale.dtype)
        return x * torch.rsqrt((x * x).mean(dim=-1, keepdim=True) + 1e-7) * self.adam_scale
