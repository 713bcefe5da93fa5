"""The edge part of a convolution: sender features in the edge frames, mixed, turned back, summed (theory 4.3 to 4.8).

Plain torch, which defines the meaning and serves every option, or one operation, :mod:`deepmd_dpa4.ops.edge_message`.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from deepmd_dpa4.descriptor.condition import ConditionReader, EdgeContext
from deepmd_dpa4.descriptor.degree_mixer import DegreeMixer
from deepmd_dpa4.graph.graph import Ends
from deepmd_dpa4.nn.linear import WeightLinear
from deepmd_dpa4.nn.norm import ScalarRMSNorm
from deepmd_dpa4.nn.so2_linear import join_orders, split_orders
from deepmd_dpa4.ops.edge_message import EdgeMessage
from deepmd_dpa4.ops.rotation import RotateBackSum, RotateIn, weigh
from deepmd_dpa4.ops.segment import segment_sum


class EdgeSumMethods:
    """Both ways, as methods of :class:`deepmd_dpa4.descriptor.convolution.SO2Convolution`."""

    # TorchScript reads the annotations of a class, so these exist for the type checker alone.
    if TYPE_CHECKING:
        lmax: int
        mmax: int
        size: int
        streams: int
        heads: int
        layers: int
        width: int
        stream_width: int
        smoothing: float
        in_frame: bool
        whole: bool
        row: Tensor
        kappa: Tensor
        condition: ConditionReader
        edge_message: EdgeMessage
        rotate_in: RotateIn
        rotate_back_sum: RotateBackSum
        so2_linears: nn.ModuleList
        non_linearities: nn.ModuleList
        radial_degree_mixer: DegreeMixer | None
        radial_hidden_proj: WeightLinear | None
        focus_compete_norm: ScalarRMSNorm | None
        adamw_focus_compete_w: Tensor | None
        focus_compete_bias: Tensor | None

        def degree_map(self) -> Tensor: ...
        def project(self, readout: Tensor) -> Tensor: ...
        def scalar_condition(self, readout: Tensor, context: EdgeContext) -> Tensor: ...

    def sum_in_one(self, senders: Tensor, weight: Tensor, context: EdgeContext) -> Tensor:
        """Form, mix, turn back and sum the edge features by one operation: (N, D, Cw)."""
        mixer = self.radial_degree_mixer
        if mixer is None:
            features = senders
            kernels = self.condition.read_degrees(context, self.degree_map(), self.lmax + 1).flatten(1)
        else:
            features = mixer.sender_features(senders)
            kernels = self.condition.read(context, self.project(mixer.readout()), self.lmax + 1)
        stack, focus = self.flat_stack(), self.focus_readout()
        return self.edge_message(features, context.rotation, kernels, weight, stack, focus, context.ends)

    def flat_stack(self) -> Tensor:
        """Join all weights of the SO(2) layers in one vector, as checkpoints have them: each layer, then its gates."""
        parts: list[Tensor] = []
        for linear, activation in zip(self.so2_linears, self.non_linearities):
            parts += [weight.flatten() for weight in linear.weights()]  # type: ignore[operator]
            parts.append(activation.flat_weight())  # type: ignore[operator]
        last = self.so2_linears[-1]
        parts += [weight.flatten() for weight in last.weights()]  # type: ignore[operator]
        return torch.cat(parts)

    def focus_readout(self) -> Tensor | None:
        """Fold the weights that read the scores of the streams from their scalars, (F, Cf)."""
        if self.adamw_focus_compete_w is None:
            return None
        readout = self.adamw_focus_compete_w.t()
        if self.focus_compete_norm is not None:
            readout = readout * self.focus_compete_norm.adam_scale
        return readout

    def plain_sum(self, senders: Tensor, weight: Tensor, context: EdgeContext) -> Tensor:
        """Do the same in plain torch, which defines what the operation computes."""
        rotation = context.rotation
        if not self.whole:
            rotation = rotation.index_select(1, self.row)[:, :, : self.size]
        local = self.edge_product(senders, rotation, context)
        share = self.focus_share(local)
        local = self.mix(local, context)
        if share is not None:
            weight = weight * share
        return self.weighted_sum(local, weight, rotation, context.ends)

    def degree_condition(self, context: EdgeContext) -> Tensor:
        """Spread the edge condition r over the rows of the edge features, (E, rows, Cw)."""
        scale = self.condition.read_degrees(context, self.degree_map(), self.lmax + 1)
        # repeated, not gathered, whose derivative would be a sum with an index
        rows: list[Tensor] = []
        if self.in_frame:
            rows.append(scale)
            for order in range(1, self.mmax + 1):
                rows.append(scale[:, order:].unsqueeze(2).expand(-1, -1, 2, -1).flatten(1, 2))
        else:
            for degree in range(self.lmax + 1):
                rows.append(scale[:, degree : degree + 1].expand(-1, 2 * degree + 1, -1))
        return torch.cat(rows, dim=1)

    def edge_product(self, senders: Tensor, rotation: Tensor, context: EdgeContext) -> Tensor:
        """Multiply sender features in the edge frames with the edge condition, (E, rows, Cw) (theory 4.3)."""
        ends = context.ends
        mixer = self.radial_degree_mixer
        if mixer is None:
            if self.in_frame:
                local = self.rotate_in(senders, ends, rotation)
            else:
                local = senders.index_select(0, ends.sender)
            return local * self.degree_condition(context)
        kernels = self.condition.read(context, self.project(mixer.readout()), self.lmax + 1)
        if mixer.per_channel:
            return mixer.mix_channels(kernels, self.rotate_in(senders, ends, rotation))
        return self.rotate_in(mixer.sender_features(senders), ends, mixer.compose(kernels, rotation))

    def focus_share(self, local: Tensor) -> Tensor | None:
        """Weigh the focus streams of each edge against each other, (E, F, 1) (theory 4.6).

        They are read from the scalars before the SO(2) layers and act after them.
        """
        if self.adamw_focus_compete_w is None:
            return None
        scalars = local[:, 0].reshape(-1, self.streams, self.stream_width)
        if self.focus_compete_norm is not None:
            scalars = self.focus_compete_norm(scalars)
        logits = (scalars * self.adamw_focus_compete_w.t()).sum(dim=2)
        if self.focus_compete_bias is not None:
            logits = logits + self.focus_compete_bias
        share = (1.0 - self.smoothing) * torch.softmax(logits, dim=1) + self.smoothing / self.streams
        return share.unsqueeze(2)

    def mix(self, local: Tensor, context: EdgeContext) -> Tensor:
        r"""Apply residual SO(2) layers :math:`h \leftarrow h + \mathrm{act}_i(W_i h)`, linear at last (theory 4.5)."""
        if self.layers == 0:
            return local
        groups = split_orders(local, self.lmax, self.mmax, self.streams)
        index = 0
        for linear, activation in zip(self.so2_linears, self.non_linearities):
            factor = self.bias_factor(index, linear.width_out, context)  # type: ignore[arg-type]
            groups = activation(groups, linear(groups, factor))
            index += 1
        last = self.so2_linears[-1]
        mixed = last(groups, self.bias_factor(index, self.stream_width, context))
        groups = [a + b for a, b in zip(groups, mixed)]
        return join_orders(groups, self.stream_width)

    def bias_factor(self, layer: int, width: int, context: EdgeContext) -> Tensor | None:
        """Compute the factor r[0] w (F, E, width) that lets the bias of the first layer vanish with the edge."""
        if layer > 0 or self.so2_linears[0].bias0 is None:
            return None
        identity = torch.eye(self.width, dtype=self.kappa.dtype, device=self.kappa.device)
        factor = self.scalar_condition(identity, context) * context.weight.unsqueeze(1)
        factor = factor.view(-1, self.streams, self.stream_width).transpose(0, 1)
        return torch.cat([factor, factor], dim=2) if width > self.stream_width else factor

    def weighted_sum(self, local: Tensor, weight: Tensor, rotation: Tensor, ends: Ends) -> Tensor:
        """Turn back, weight (E, streams, heads), and sum per receiver: (N, D, Cw) (theory 4.7)."""
        if self.in_frame:
            return self.rotate_back_sum(local, weight, rotation, ends)
        return segment_sum(weigh(local, weight), ends.receiver, ends.n_receivers)
