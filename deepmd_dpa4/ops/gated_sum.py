"""Gates and residual sum of an SO(2) layer, without its matrix products."""

import torch
from torch import Tensor, nn

from deepmd_dpa4.config import DescriptorConfig
from deepmd_dpa4.ops.operation import OnCuda, Operation
from deepmd_dpa4.ops.rotation import COVERED


class GatedSum(Operation):
    r"""Add gated features of edges to the features that they were made of.

    .. math:: h'_{00} = h_{00} + \mathrm{act}(z_{00}), \qquad
        h'_{l,\pm m} = h_{l,\pm m} + \sigma(t_l)\, z_{l,\pm m} \quad (l \ge 1)

    Features h and z: one tensor (F, E, rows * C) per order m, rows in edge order; logits t (F, E, L * C), None for
    lmax 0. Result as h (theory 4.5, 5.2).
    """

    def __init__(self, config: DescriptorConfig | None, lmax: int, channels: int, activation: nn.Module) -> None:
        super().__init__(config)
        self.lmax, self.channels, self.activation = lmax, channels, activation

    def forward(self, features: list[Tensor], mixed: list[Tensor], logits: Tensor | None) -> list[Tensor]:
        return gated_sum(features, mixed, logits, self.lmax, self.activation(mixed[0][:, :, : self.channels]))


class TritonGatedSum(OnCuda, GatedSum):
    """By ``dpa4_triton::gated_sum``, which reads and writes every number once; silu alone."""

    @classmethod
    def supports(cls, config: DescriptorConfig | None, device: torch.device, dtype: torch.dtype) -> bool:
        covered = config is not None and COVERED(config) and config.common.activation_function.lower() == "silu"
        return super().supports(config, device, dtype) and covered

    def forward(self, features: list[Tensor], mixed: list[Tensor], logits: Tensor | None) -> list[Tensor]:
        if logits is None:
            return GatedSum.forward(self, features, mixed, logits)
        from deepmd_dpa4.ops.triton.gated_sum import gated_sum as operator

        return operator(features, [one.contiguous() for one in mixed], logits.contiguous())  # type: ignore[no-any-return]


def gated_sum(
    features: list[Tensor], mixed: list[Tensor], logits: Tensor | None, lmax: int, active: Tensor
) -> list[Tensor]:
    """Define :class:`GatedSum`; ``active`` are the activated scalars."""
    if logits is None:
        return [features[0] + active]
    streams, edges, channels = active.shape[0], active.shape[1], active.shape[2]
    gates = torch.sigmoid(logits).view(streams, edges, lmax, channels)
    rest = mixed[0][:, :, channels:].reshape(streams, edges, lmax, channels) * gates
    result = [features[0] + torch.cat([active, rest.flatten(2)], dim=2)]
    for order in range(1, len(mixed)):
        pairs = mixed[order].view(streams, edges, lmax - order + 1, 2, channels)
        result.append(features[order] + (pairs * gates[:, :, order - 1 :].unsqueeze(3)).flatten(2))
    return result
