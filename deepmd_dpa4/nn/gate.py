"""Gated activation of equivariant features (theory 5.2)."""

import torch
from torch import Tensor, nn

from deepmd_dpa4.config import DescriptorConfig
from deepmd_dpa4.nn.activation import Activation
from deepmd_dpa4.nn.initial import Initializer
from deepmd_dpa4.nn.linear import WeightLinear
from deepmd_dpa4.ops.gated_sum import GatedSum
from deepmd_dpa4.so3.layout import packed_degrees


class DegreeGates(nn.Module):
    r"""Gates :math:`\sigma(x_{00} W)_{lc}` of the degrees l >= 1, from the scalar features of each stream.

    ``gate_linear.weight`` (C, F L C) is viewed as (in, stream, l - 1, out).
    """

    def __init__(self, lmax: int, channels: int, streams: int, bias: bool, init: Initializer) -> None:
        super().__init__()
        self.lmax, self.channels, self.streams = lmax, channels, streams
        width = streams * lmax * channels
        offset = init.constant([width], 0.0) if bias else None
        self.gate_linear = WeightLinear(init.normal([channels, width], 0.01), offset) if lmax > 0 else None

    def weight(self) -> Tensor:
        """Return the matrix of each stream, (F, C, L C)."""
        assert self.gate_linear is not None
        return self.gate_linear.weight.view(self.channels, self.streams, -1).transpose(0, 1)

    def flat_weight(self) -> Tensor:
        """Return the same as stored, (C * F * L C)."""
        assert self.gate_linear is not None
        return self.gate_linear.weight.flatten()

    def logits(self, scalars: Tensor) -> Tensor:
        """Map scalars (F, n, C) to what the gates are made of, (F, n, L C)."""
        assert self.gate_linear is not None
        logits = torch.bmm(scalars, self.weight())
        if self.gate_linear.bias is not None:
            logits = logits + self.gate_linear.bias.view(self.streams, 1, -1)
        return logits

    def gates(self, scalars: Tensor) -> Tensor:
        """Map scalars (F, n, C) to gates (F, n, L, C)."""
        return torch.sigmoid(self.logits(scalars)).view(self.streams, -1, self.lmax, self.channels)


class EdgeGate(DegreeGates):
    """Gated activation of edge features in edge order, added to others: one tensor (F, E, rows * C) per order m."""

    def __init__(
        self,
        config: DescriptorConfig | None,
        lmax: int,
        channels: int,
        streams: int,
        activation: str,
        bias: bool,
        init: Initializer,
    ) -> None:
        super().__init__(lmax, channels, streams, bias, init)
        self.sum = GatedSum(config, lmax, channels, Activation(activation))

    def forward(self, features: list[Tensor], mixed: list[Tensor]) -> list[Tensor]:
        """Add the activated ``mixed`` to ``features``."""
        logits = self.logits(mixed[0][:, :, : self.channels]) if self.gate_linear is not None else None
        return self.sum(features, mixed, logits)


class NodeGate(DegreeGates):
    """Gated activation of node features (D, N, C); the gates come from a second operand if one is given."""

    expand_index: Tensor

    def __init__(self, lmax: int, channels: int, activation: str, bias: bool, init: Initializer) -> None:
        super().__init__(lmax, channels, 1, bias, init)
        self.activation = Activation(activation)
        self.register_buffer("expand_index", torch.tensor(packed_degrees(lmax)[1:], dtype=torch.int64) - 1)

    def forward(self, value: Tensor, gate: Tensor | None) -> Tensor:
        scalars = value[:1] if gate is None else gate[:1]
        active = self.activation(scalars) if gate is None else value[:1] * self.activation(scalars)
        if self.gate_linear is None:
            return active
        gates = self.gates(scalars)[0].transpose(0, 1).index_select(0, self.expand_index)
        return torch.cat([active, value[1:] * gates])
