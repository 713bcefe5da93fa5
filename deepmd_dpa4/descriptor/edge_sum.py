"""The edge part of a convolution: sender features in the edge frames, mixed, turned back, summed (theory 4.3 to 4.8).

Two implementations: plain torch, which defines the meaning and serves every option, and one native operator.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from deepmd_dpa4.config import DescriptorConfig
from deepmd_dpa4.descriptor.condition import ConditionReader, EdgeContext
from deepmd_dpa4.descriptor.degree_mixer import DegreeMixer
from deepmd_dpa4.graph.edges import Graph
from deepmd_dpa4.nn.linear import WeightLinear
from deepmd_dpa4.nn.norm import ScalarRMSNorm
from deepmd_dpa4.nn.so2_linear import join_orders, split_orders
from deepmd_dpa4.ops.rotation import rotate_back_sum, rotate_in
from deepmd_dpa4.ops.segment import segment_sum

# What the native operator is written for; other networks run in plain torch.
LARGEST_DEGREE, MOST_STREAMS, MOST_HEADS = 5, 8, 8


class EdgeSumMethods:
    """Both implementations, as methods of :class:`deepmd_dpa4.descriptor.convolution.SO2Convolution`."""

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
        covered: bool
        operator_shape: list[int]
        row: Tensor
        degree_of_row: Tensor
        kappa: Tensor
        condition: ConditionReader
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

    def describe_to_operator(self, config: DescriptorConfig, top_mmax: int, dtype: torch.dtype) -> None:
        """What the native operator has to know, and whether it covers these options."""
        mixer, common = self.radial_degree_mixer, config.common
        rank = 0 if mixer is None else mixer.copies
        normed = int(self.focus_compete_norm is not None)
        sizes = [self.lmax, self.mmax, top_mmax, self.streams, max(self.heads, 1), self.layers, rank, normed]
        self.operator_shape = sizes
        self.covered = (
            1 <= self.lmax <= LARGEST_DEGREE
            and self.layers > 0
            and self.streams <= MOST_STREAMS
            and self.heads <= MOST_HEADS
            and common.activation_function.lower() == "silu"
            and not common.mlp_bias
            and not config.grid.s2_activation[0]
            and not (mixer is not None and mixer.per_channel)
            and dtype in (torch.float32, torch.float64)
        )

    def native_sum(self, senders: Tensor, weight: Tensor, context: EdgeContext) -> Tensor:
        """Edge features formed, mixed, turned back and summed per receiver by one operator: (N, D, Cw)."""
        graph = context.graph
        mixer = self.radial_degree_mixer
        if mixer is None:
            features = senders
            kernels = self.condition.read_degrees(context, self.degree_map(), self.lmax + 1).flatten(1)
        else:
            features = mixer.sender_features(senders)
            kernels = self.condition.read(context, self.project(mixer.readout()), self.lmax + 1)
        return torch.ops.dpa4.edge_message(
            features,
            context.geometry.compact,
            kernels,
            weight.expand(-1, self.streams, -1),
            self.flat_stack(),
            self.focus_readout(),
            graph.sender,
            graph.receiver,
            graph.n_owned,
            self.operator_shape,
        )

    def flat_stack(self) -> Tensor:
        """All weights of the SO(2) layers in one vector, as checkpoints have them: each layer, then its gates."""
        parts: list[Tensor] = []
        for linear, activation in zip(self.so2_linears, self.non_linearities):
            parts += [weight.flatten() for weight in linear.weights()]  # type: ignore[operator]
            parts.append(activation.flat_weight())  # type: ignore[operator]
        last = self.so2_linears[-1]
        parts += [weight.flatten() for weight in last.weights()]  # type: ignore[operator]
        return torch.cat(parts)

    def focus_readout(self) -> Tensor | None:
        """Weights that read the scores of the streams from their scalars, (F, Cf)."""
        if self.adamw_focus_compete_w is None:
            return None
        readout = self.adamw_focus_compete_w.t()
        if self.focus_compete_norm is not None:
            readout = readout * self.focus_compete_norm.adam_scale
        return readout

    def plain_sum(self, senders: Tensor, weight: Tensor, context: EdgeContext) -> Tensor:
        """The same in plain torch, which defines what the operator computes."""
        rotation = context.geometry.rotation
        if not self.whole:
            rotation = rotation.index_select(1, self.row)[:, :, : self.size]
        local = self.edge_product(senders, rotation, context)
        share = self.focus_share(local)
        local = self.mix(local, context)
        if share is not None:
            weight = weight * share
        return self.weighted_sum(local, weight, rotation, context.graph)

    def degree_condition(self, context: EdgeContext) -> Tensor:
        """Edge condition r for each row of the edge features, (E, rows, Cw)."""
        scale = self.condition.read_degrees(context, self.degree_map(), self.lmax + 1)
        return scale.index_select(1, self.degree_of_row)

    def edge_product(self, senders: Tensor, rotation: Tensor, context: EdgeContext) -> Tensor:
        """Sender features in the edge frames times the edge condition, (E, rows, Cw) (theory 4.3)."""
        sender = context.graph.sender
        mixer = self.radial_degree_mixer
        if mixer is None:
            if self.in_frame:
                local = rotate_in(senders, sender, rotation)
            else:
                local = senders.index_select(0, sender)
            return local * self.degree_condition(context)
        kernels = self.condition.read(context, self.project(mixer.readout()), self.lmax + 1)
        if mixer.per_channel:
            return mixer.mix_channels(kernels, rotate_in(senders, sender, rotation))
        return rotate_in(mixer.sender_features(senders), sender, mixer.compose(kernels, rotation))

    def focus_share(self, local: Tensor) -> Tensor | None:
        """Weights of the focus streams of each edge against each other, (E, F, 1) (theory 4.6).

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
        r"""Residual SO(2) layers :math:`h \leftarrow h + \mathrm{act}_i(W_i h)`, the last one linear (theory 4.5)."""
        if self.layers == 0:
            return local
        groups = split_orders(local, self.lmax, self.mmax, self.streams)
        index = 0
        for linear, activation in zip(self.so2_linears, self.non_linearities):
            factor = self.bias_factor(index, linear.width_out, context)  # type: ignore[arg-type]
            mixed = activation(linear(groups, factor))
            groups = [a + b for a, b in zip(groups, mixed)]
            index += 1
        last = self.so2_linears[-1]
        mixed = last(groups, self.bias_factor(index, self.stream_width, context))
        groups = [a + b for a, b in zip(groups, mixed)]
        return join_orders(groups, self.stream_width)

    def bias_factor(self, layer: int, width: int, context: EdgeContext) -> Tensor | None:
        """Factor r[0] w (F, E, width) that lets the bias of the first layer vanish with the edge."""
        if layer > 0 or self.so2_linears[0].bias0 is None:
            return None
        identity = torch.eye(self.width, dtype=self.kappa.dtype, device=self.kappa.device)
        factor = self.scalar_condition(identity, context) * context.geometry.weight.unsqueeze(1)
        factor = factor.view(-1, self.streams, self.stream_width).transpose(0, 1)
        return torch.cat([factor, factor], dim=2) if width > self.stream_width else factor

    def weighted_sum(self, local: Tensor, weight: Tensor, rotation: Tensor, graph: Graph) -> Tensor:
        """Turn back, weight (E, streams, heads), and sum per receiver: (N, D, Cw) (theory 4.7)."""
        if weight.shape[1] * weight.shape[2] == 1:
            if not self.in_frame:
                return segment_sum(local * weight, graph.receiver, graph.n_owned)
            return rotate_back_sum(local, rotation * weight, graph.receiver, graph.n_owned)
        shape = [local.shape[0], local.shape[1], weight.shape[1], weight.shape[2]]
        shape.append(self.width // (weight.shape[1] * weight.shape[2]))
        local = (local.view(shape) * weight[:, None, :, :, None]).flatten(2)
        if not self.in_frame:
            return segment_sum(local, graph.receiver, graph.n_owned)
        return rotate_back_sum(local, rotation, graph.receiver, graph.n_owned)
