"""The EMFA convolution: edge-conditioned product, multi-focus streams, envelope-gated attention (theory 4)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepmd_dpa4.config import DescriptorConfig
from deepmd_dpa4.descriptor.attention import HeadScores, stream_linear
from deepmd_dpa4.descriptor.condition import ConditionReader, EdgeContext
from deepmd_dpa4.descriptor.degree_mixer import DegreeMixer
from deepmd_dpa4.descriptor.edge_sum import EdgeSumMethods
from deepmd_dpa4.graph.graph import Graph
from deepmd_dpa4.nn.edge_grid import EdgeGridActivation
from deepmd_dpa4.nn.gate import EdgeGate
from deepmd_dpa4.nn.grid_product import MessageNodeProduct
from deepmd_dpa4.nn.initial import Initializer
from deepmd_dpa4.nn.linear import SO3Linear, WeightLinear
from deepmd_dpa4.nn.norm import ScalarRMSNorm
from deepmd_dpa4.nn.so2_linear import SO2Linear
from deepmd_dpa4.ops.edge_message import EdgeMessage
from deepmd_dpa4.ops.halo_exchange import fill_ghosts
from deepmd_dpa4.ops.rotation import RotateBackSum, RotateIn
from deepmd_dpa4.ops.softmax import EnvelopeSoftmax
from deepmd_dpa4.so3.layout import edge_rows, inverse_rotation_rescale

# Share of the focus weights that is spread evenly over the streams.
FOCUS_SMOOTHING = 0.02


class SO2Convolution(EdgeSumMethods, nn.Module):
    """One message-passing step in the edge frames: node features (D, N, C) to messages (D, N, C).

    In parts, because the first and the last act on each node alone: ``pre_focus_mix`` widens the node features,
    :meth:`senders` copies them to where edges read them, :meth:`sum_edges` forms the messages of the edges and sums
    them, :meth:`finish` turns the sums into messages.

    Parameters
    ----------
    config : DescriptorConfig
        Options.
    lmax, mmax : int
        Degree and order of this block.
    top_lmax, top_mmax : int
        Degree and order of the rotation matrices in the edge geometry.
    init : Initializer
        Source of weights.
    """

    row: Tensor
    kappa: Tensor

    def __init__(
        self, config: DescriptorConfig, lmax: int, mmax: int, top_lmax: int, top_mmax: int, init: Initializer
    ) -> None:
        super().__init__()
        message, common = config.message, config.common
        channels, bias = config.embedding.channels, common.mlp_bias
        self.lmax, self.mmax, self.size = lmax, mmax, (lmax + 1) ** 2
        self.streams, self.heads = message.n_focus, message.n_atten_head
        self.channels, self.stream_width = channels, config.focus_width
        self.width = self.streams * self.stream_width
        self.layers, self.eps = message.mixing_layers, config.geometry.eps
        self.in_frame = self.layers > 0 or message.radial_so2_mode != "none"
        self.whole = (lmax, mmax) == (top_lmax, top_mmax)
        self.condition, self.scores = ConditionReader(), HeadScores(max(self.heads, 1))
        self.softmax, self.edge_message = EnvelopeSoftmax(), EdgeMessage(config, lmax, mmax)
        self.rotate_in, self.rotate_back_sum = RotateIn(config), RotateBackSum(config)
        self._build_tables(top_lmax, top_mmax, init.dtype)
        self._build_stack(config, init)
        self._build_attention(init)
        self._build_focus(common.edge_norm, bias, init)
        self._build_edge_product(config, init)
        self._build_node_product(config, init)
        self.pre_focus_mix = SO3Linear(lmax, channels, self.width, bias, init)
        self.post_focus_mix = SO3Linear(lmax, self.width, channels, bias, init, zero=True)

    def _build_tables(self, top_lmax: int, top_mmax: int, dtype: torch.dtype) -> None:
        available = edge_rows(top_lmax, top_mmax)
        rows = edge_rows(self.lmax, self.mmax)
        kappa = inverse_rotation_rescale(self.lmax, self.mmax) if self.in_frame else [1.0] * self.size
        self.register_buffer("row", torch.tensor([available.index(row) for row in rows]), persistent=False)
        self.register_buffer("kappa", torch.tensor(kappa, dtype=dtype), persistent=False)

    def _build_stack(self, config: DescriptorConfig, init: Initializer) -> None:
        common, grid = config.common, config.grid.s2_activation[0]
        size = (self.lmax, self.mmax, self.stream_width)
        linears: list[nn.Module] = []
        activations: list[nn.Module] = []
        for layer in range(self.layers):
            last = layer == self.layers - 1
            width_out = self.stream_width * (2 if grid and not last else 1)
            linears.append(SO2Linear(*size, width_out, self.streams, common.mlp_bias, init))
            if last:
                continue
            if grid:
                lebedev = config.grid.lebedev(0)
                activations.append(EdgeGridActivation(*size, self.streams, lebedev, common.mlp_bias, init))
            else:
                gate = self.lmax, self.stream_width, self.streams, common.activation_function
                activations.append(EdgeGate(config, *gate, common.mlp_bias, init))
        self.so2_linears = nn.ModuleList(linears)
        self.non_linearities = nn.ModuleList(activations)

    def _build_focus(self, norm: bool, bias: bool, init: Initializer) -> None:
        self.smoothing = FOCUS_SMOOTHING
        several, shape = self.streams > 1, [self.streams, self.stream_width]
        self.focus_compete_norm = ScalarRMSNorm(shape, init) if several and norm else None
        self.adamw_focus_compete_w = init.normal([self.stream_width, self.streams], 0.01) if several else None
        self.focus_compete_bias = init.constant([self.streams], 0.0) if several and bias else None

    def _build_attention(self, init: Initializer) -> None:
        streams, width, heads = self.streams, self.stream_width, self.heads
        if heads == 0:
            self.attn_qk_norm = self.attn_output_gate_norm = self.attn_q_proj = self.attn_k_proj = None
            self.adamw_attn_logit_w = self.adamw_attn_gate_w = self.adamw_attn_z_bias_raw = None
            return
        self.attn_qk_norm = ScalarRMSNorm([streams, width], init)
        self.attn_q_proj = WeightLinear(init.uniform([width, streams * width], width**-0.5))
        self.attn_k_proj = WeightLinear(init.uniform([width, streams * width], width**-0.5))
        self.attn_output_gate_norm = ScalarRMSNorm([streams, width], init)
        self.adamw_attn_logit_w = init.normal([width, streams, heads], 0.01)
        # softplus(0.5413) = 1
        self.adamw_attn_z_bias_raw = init.constant([streams, heads], 0.541324854612918)
        self.adamw_attn_gate_w = init.normal([width, streams, heads], 0.01)

    def _build_edge_product(self, config: DescriptorConfig, init: Initializer) -> None:
        mode, rank = config.message.radial_so2_mode, config.message.radial_so2_rank
        projection = init.uniform([self.channels, self.width], self.channels**-0.5)
        self.radial_hidden_proj = WeightLinear(projection) if self.width != self.channels else None
        basis = mode == "degree_channel"
        self.radial_degree_mixer = (
            DegreeMixer(self.lmax, self.mmax, self.width, rank if basis else 1, basis, init) if mode != "none" else None
        )

    def _build_node_product(self, config: DescriptorConfig, init: Initializer) -> None:
        grid, kmax = config.grid, min(config.grid.kmax, self.lmax)
        kind, branches, bias = grid.operation(1), grid.branches(1), config.common.mlp_bias
        self.message_node_grid_product = (
            MessageNodeProduct(self.lmax, kmax, kind, self.stream_width, self.streams, branches, bias, init)
            if config.message.message_node_so3
            else None
        )

    def senders(self, wide: Tensor, graph: Graph) -> Tensor:
        """Copy the features (D, N, Cw) to all nodes that the edges read, ghosts of other ranks included: (M, D, Cw)."""
        senders = wide.transpose(0, 1).contiguous()
        exchange = graph.exchange
        if exchange is not None:
            flat = fill_ghosts(senders.flatten(1), exchange, graph.node_type.shape[0])
            senders = flat.view(-1, self.size, self.width)
        return senders

    def sum_edges(self, senders: Tensor, context: EdgeContext) -> Tensor:
        """Sum over the edges of each receiver, (N, D, Cw), from the features of all nodes (M, D, Cw)."""
        weight = self.edge_weight(senders, context)
        if self.edge_message.serves(senders):
            return self.sum_in_one(senders, weight, context)
        return self.plain_sum(senders, weight, context)

    def finish(self, summed: Tensor, wide: Tensor, normalizer: Tensor) -> Tensor:
        """Turn the sums over edges into messages (D, N, C); acts on each node alone (theory 4.10)."""
        message = self.scale_sum(summed, wide[0], normalizer).transpose(0, 1) * self.kappa[:, None, None]
        if self.message_node_grid_product is not None:
            message = message + self.message_node_grid_product(message, wide)
        return self.post_focus_mix(message)

    def degree_map(self) -> Tensor:
        """Map the edge condition (channels C) to one degree of r (width Cw) (theory 4.2)."""
        if self.radial_hidden_proj is not None:
            return self.radial_hidden_proj.weight
        return torch.eye(self.channels, dtype=self.kappa.dtype, device=self.kappa.device)

    def scalar_condition(self, readout: Tensor, context: EdgeContext) -> Tensor:
        """Read a linear image of r[0], ``readout`` (Cw, K): (E, K)."""
        return self.condition.read(context, self.project(readout), 1)

    def project(self, readout: Tensor) -> Tensor:
        """Turn a map from degrees of r, (..., Cw, K), into one from the edge condition, with flattened rows."""
        if self.radial_hidden_proj is not None:
            readout = self.radial_hidden_proj.weight @ readout
        return readout.reshape(-1, readout.shape[readout.dim() - 1])

    def edge_weight(self, senders: Tensor, context: EdgeContext) -> Tensor:
        """Weigh each edge in the sum of its receiver, (E, F, H) or (E, 1, 1) (theory 4.8)."""
        if self.attn_output_gate_norm is not None:
            return self.attention(senders[:, 0].reshape(-1, self.streams, self.stream_width), context)
        weight, gate = context.weight, context.gate
        if gate is not None:
            weight = weight * gate
        return weight[:, None, None]

    def scale_sum(self, summed: Tensor, scalars: Tensor, normalizer: Tensor) -> Tensor:
        """Apply the output gates of the attention heads, or the degree normaliser without attention: (N, D, Cw)."""
        if self.attn_output_gate_norm is None:
            return summed * normalizer[:, None, None]
        assert self.adamw_attn_gate_w is not None
        nodes = summed.shape[0]
        owned = self.attn_output_gate_norm(scalars.reshape(nodes, self.streams, self.stream_width))
        gate = torch.sigmoid(stream_linear(owned, self.adamw_attn_gate_w.flatten(1)))
        shape = [nodes, self.size, self.streams, self.heads, self.stream_width // self.heads]
        return (summed.view(shape) * gate[:, None, :, :, None]).flatten(2)

    def attention(self, scalars: Tensor, context: EdgeContext) -> Tensor:
        """Compute the attention weights of the edges, (E, F, H), from the scalars of all nodes (M, F, Cf)."""
        assert self.attn_qk_norm is not None and self.attn_q_proj is not None and self.attn_k_proj is not None
        assert self.adamw_attn_logit_w is not None and self.adamw_attn_z_bias_raw is not None
        ends, weight = context.ends, context.weight
        normed = self.attn_qk_norm(scalars)
        query = stream_linear(normed[: ends.n_receivers], self.attn_q_proj.weight)
        key = stream_linear(normed, self.attn_k_proj.weight)
        scores = self.scores(query, key, ends.receiver, ends.sender)
        readout: Tensor = self.adamw_attn_logit_w
        if self.streams > 1:
            same_stream = torch.eye(self.streams, dtype=weight.dtype, device=weight.device)
            readout = readout.transpose(0, 1).unsqueeze(2) * same_stream[:, None, :, None]
        bias = self.scalar_condition(readout.reshape(self.width, -1), context)
        null_mass = functional.softplus(self.adamw_attn_z_bias_raw) + self.eps
        logits = scores + bias.view(-1, self.streams, self.heads)
        logits = logits.to(weight.dtype)
        return self.softmax(logits, weight, context.gate, null_mass, ends)
