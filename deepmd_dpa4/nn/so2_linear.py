"""Linear map in the edge frame that commutes with rotations about the edge (theory 4.5)."""

import math

import torch
from torch import Tensor, nn

from deepmd_dpa4.nn.initial import Initializer
from deepmd_dpa4.nn.low_rank import draw_factors, updated
from deepmd_dpa4.so3.layout import group_size


class SO2Linear(nn.Module):
    r"""One full matrix over (l, c) for m = 0 and one complex matrix for each m > 0, separately for each stream.

    For m > 0 the pair :math:`x_{-m} + i x_{+m}` is one complex number and the weight is :math:`U + iV`:

    .. math:: y_{-m} = x_{-m} U - x_{+m} V, \qquad y_{+m} = x_{-m} V + x_{+m} U.

    Input and output: one tensor (F, E, rows * C) per order m, rows in edge order, so that each order is one real
    matrix product. ``weight_m0`` ((L+1) C_in, F (L+1) C_out) is viewed (l, c, stream, l', c'), ``weight_m.{m-1}``
    (n C_in, 2 F n C_out) with n = L - m + 1 is viewed (l, c, stream, U or V, l', c'). :meth:`adapt` adds a low-rank
    update to each weight, whose factors are ``A_m0``, ``B_m0``, ``A_m`` and ``B_m``.
    Source: eSCN, arXiv:2302.03655.
    """

    def __init__(
        self, lmax: int, mmax: int, width_in: int, width_out: int, streams: int, bias: bool, init: Initializer
    ) -> None:
        super().__init__()
        self.lmax, self.streams = lmax, streams
        self.width_in, self.width_out = width_in, width_out
        rows, columns = (lmax + 1) * width_in, (lmax + 1) * width_out
        self.weight_m0 = init.truncated([rows, streams * columns], rows, columns)
        weights = []
        for order in range(1, mmax + 1):
            rows, columns = (lmax - order + 1) * width_in, 2 * (lmax - order + 1) * width_out
            weights.append(init.truncated([rows, streams * columns], rows, columns, gain=math.sqrt(0.5)))
        self.weight_m = nn.ParameterList(weights)
        self.bias0: nn.Parameter | None = init.constant([streams * width_out], 0.0) if bias else None
        self.A_m, self.B_m = nn.ParameterList(), nn.ParameterList()
        for name in ("A_m0", "B_m0"):
            self.register_parameter(name, None)
        self.register_buffer("lora_scaling", None)

    def adapt(self, rank: int, scaling: float, init: Initializer) -> None:
        """Freeze the weights and add trainable updates of low rank."""
        self.weight_m0.requires_grad = False
        self.A_m0, self.B_m0 = draw_factors(self.weight_m0, rank, init)
        for weight in self.weight_m:
            weight.requires_grad = False
            first, second = draw_factors(weight, rank, init)
            self.A_m.append(first)
            self.B_m.append(second)
        self.lora_scaling = self.weight_m0.new_tensor(scaling)

    def weights(self) -> list[Tensor]:
        """List the weights in use, one for each order m."""
        result: list[Tensor] = [self.weight_m0]
        for weight in self.weight_m:
            result.append(weight)
        if self.lora_scaling is not None:
            return self.updated_weights(result)
        return result

    @torch.jit.unused
    def updated_weights(self, weights: list[Tensor]) -> list[Tensor]:
        """List the frozen weights with their updates."""
        firsts, seconds = [self.A_m0, *self.A_m], [self.B_m0, *self.B_m]
        return [
            updated(weight, first, second, self.lora_scaling)
            for weight, first, second in zip(weights, firsts, seconds, strict=True)
        ]

    def matrices(self) -> list[Tensor]:
        """List the real matrix (F, rows * C_in, rows * C_out) of each order."""
        weights = self.weights()
        result = [weights[0].view(weights[0].shape[0], self.streams, -1).transpose(0, 1)]
        for weight in weights[1:]:
            degrees = weight.shape[0] // self.width_in
            split = weight.view(degrees, self.width_in, self.streams, 2, degrees, self.width_out)
            u, v = split[:, :, :, 0], split[:, :, :, 1]
            minus = torch.stack([u, v], dim=4)
            plus = torch.stack([-v, u], dim=4)
            pair = torch.stack([minus, plus], dim=1).permute(3, 0, 1, 2, 4, 5, 6)
            result.append(pair.reshape(self.streams, 2 * degrees * self.width_in, 2 * degrees * self.width_out))
        return result

    def forward(self, groups: list[Tensor], bias_factor: Tensor | None) -> list[Tensor]:
        """Apply the map; ``bias_factor`` (F, E, C_out) makes the bias on (0, 0) vanish with the edge."""
        matrices = self.matrices()
        result = [torch.bmm(groups[order], matrices[order]) for order in range(len(groups))]
        if self.bias0 is not None:
            bias = self.bias0.view(self.streams, 1, self.width_out)
            if bias_factor is not None:
                bias = bias * bias_factor
            scalar = result[0][:, :, : self.width_out] + bias
            result[0] = torch.cat([scalar, result[0][:, :, self.width_out :]], dim=2)
        return result


def split_orders(features: Tensor, lmax: int, mmax: int, streams: int) -> list[Tensor]:
    """Split edge features (E, rows, F * C) in edge order into one tensor (F, E, rows_m * C) per order m."""
    edges, _, width = features.shape
    sizes = [group_size(lmax, order) for order in range(mmax + 1)]
    # gradients of a split are joined, those of slices would be filled up with zeros and added
    blocks = features.split(sizes, dim=1)
    if streams == 1:
        return [block.reshape(1, edges, block.shape[1] * width) for block in blocks]
    channels = width // streams
    return [block.reshape(edges, block.shape[1], streams, channels).permute(2, 0, 1, 3).flatten(2) for block in blocks]


def join_orders(groups: list[Tensor], channels: int) -> Tensor:
    """Invert :func:`split_orders`."""
    streams, edges = groups[0].shape[0], groups[0].shape[1]
    if streams == 1:
        joined = torch.cat(groups, dim=2)
        return joined.view(edges, joined.shape[2] // channels, channels)
    blocks = [group.view(streams, edges, group.shape[2] // channels, channels) for group in groups]
    return torch.cat(blocks, dim=2).permute(1, 2, 0, 3).flatten(2)
