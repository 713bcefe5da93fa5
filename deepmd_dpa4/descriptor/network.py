"""The DPA4 network: graph to invariant features of each atom."""

import math

import torch
from torch import Tensor, nn

from deepmd_dpa4.config import DescriptorConfig
from deepmd_dpa4.descriptor.block import Block, is_covered
from deepmd_dpa4.descriptor.condition import EdgeCondition, EdgeContext, EdgeState
from deepmd_dpa4.descriptor.embedding import FILM_STRENGTH, EnvironmentSeed, GeometricEmbedding
from deepmd_dpa4.descriptor.readout import build_readout
from deepmd_dpa4.descriptor.source_gate import source_gate
from deepmd_dpa4.graph.cutoff import CutoffEnvelope, InnerClamp
from deepmd_dpa4.graph.edges import EdgeFeatures, Graph
from deepmd_dpa4.graph.radial import BesselBasis, GaussianBasis
from deepmd_dpa4.nn.initial import Initializer
from deepmd_dpa4.nn.norm import ScalarRMSNorm
from deepmd_dpa4.nn.radial_mlp import RadialMLP
from deepmd_dpa4.nn.type_embedding import ChargeSpinEmbedding, TypeEmbedding
from deepmd_dpa4.ops.pairs import Pairs
from deepmd_dpa4.ops.segment import segment_sum
from deepmd_dpa4.so3.wigner import WignerRows

VERSION = 1.2
# Models below this version scale neither the radial features with the edge weight nor offset the degree.
WEIGHTED_SINCE = 1.1
DEGREE_OFFSET = 0.25


class Network(nn.Module):
    r"""Graph and types to features :math:`d_i` (N, C), invariant under rotation, translation and permutation.

    Parameters
    ----------
    config : DescriptorConfig
        Options.
    ntypes : int
        Number of atom types.
    dtype : torch.dtype
        Precision of parameters and arithmetic.
    clamp : InnerClamp, optional
        Zone bridging.
    """

    # not Final: TorchScript does not read the annotations of base classes, and the host's descriptor is a subclass
    __constants__ = ["native"]
    native: bool = False
    version_tensor: Tensor

    def __init__(
        self, config: DescriptorConfig, ntypes: int, dtype: torch.dtype, clamp: InnerClamp | None = None
    ) -> None:
        super().__init__()
        init = Initializer(dtype, config.common.seed)
        geometry, embedding, common = config.geometry, config.embedding, config.common
        channels, degrees = embedding.channels, config.message.degrees
        self.channels, self.eps = channels, geometry.eps
        self.set_version(VERSION)
        self.use_amp, self.random_gamma = common.use_amp, config.message.random_gamma
        self.use_env_seed, self.lmax = embedding.use_env_seed, degrees[0]
        self.register_buffer("version_tensor", torch.tensor(VERSION, dtype=torch.float64))
        wigner = WignerRows(max(degrees), max(config.message.orders), dtype)
        self.edge_features = EdgeFeatures(geometry.rcut, geometry.env_exp[1], geometry.eps, wigner, clamp)
        self.pairs = Pairs()
        self.type_embedding = TypeEmbedding(ntypes, channels, init)
        self.charge_spin_embedding = (
            ChargeSpinEmbedding(channels, common.activation_function, init) if embedding.add_chg_spin_ebd else None
        )
        self._build_seed(config, ntypes, init)
        self.bessel = geometry.basis_type == "bessel"
        basis = BesselBasis if self.bessel else GaussianBasis
        self.radial_basis = basis(geometry.rcut, geometry.n_radial, dtype)
        self.basis_envelope = CutoffEnvelope(geometry.rcut, geometry.env_exp[0])
        hidden = [width or channels for width in geometry.radial_mlp]
        self.radial_embedding = RadialMLP(
            geometry.n_radial,
            hidden,
            (degrees[0] + 1) * channels,
            common.edge_norm,
            common.activation_function,
            init,
        )
        self.blocks = nn.ModuleList([Block(config, index, init) for index in range(len(degrees))])
        self.block_sizes = [(degree + 1) ** 2 for degree in degrees]
        self.edge_features.dense = not all(is_covered(block) for block in self.blocks)
        self.so3_readout = config.feed_forward.so3_readout
        n_pre = config.feed_forward.readout_layers - 1
        self.readout_pre_layers = nn.ModuleList([build_readout(config, init) for _ in range(n_pre)])
        self.output_ffn = build_readout(config, init)

    def set_version(self, version: float) -> None:
        """Choose the rules of the model version that a checkpoint was written with."""
        self.weighted_radial = version >= WEIGHTED_SINCE
        self.degree_offset = DEGREE_OFFSET if self.weighted_radial else self.eps

    def _build_seed(self, config: DescriptorConfig, ntypes: int, init: Initializer) -> None:
        seeded, norm = self.use_env_seed, config.common.edge_norm
        self.env_seed_embedding = EnvironmentSeed(config, ntypes, init) if seeded else None
        self.film_scale_norm = ScalarRMSNorm([1, self.channels], init) if seeded and norm else None
        self.film_shift_norm = ScalarRMSNorm([1, self.channels], init) if seeded and norm else None
        self.film_scale_strength_log = init.constant([1], FILM_STRENGTH) if seeded else None
        self.film_shift_strength_log = init.constant([1], FILM_STRENGTH) if seeded else None
        self.geometric_embedding = GeometricEmbedding(self.lmax) if seeded and self.lmax > 0 else None

    def forward(self, graph: Graph, charge_spin: Tensor | None) -> Tensor:
        """As :meth:`features`."""
        return self.features(graph, charge_spin)

    def features(self, graph: Graph, charge_spin: Tensor | None) -> Tensor:
        """Features of the owned nodes, (N, C).

        Parameters
        ----------
        graph : Graph
            Nodes and edges.
        charge_spin : Tensor, optional
            Charge and spin multiplicity of each frame, (frames, 2).
        """
        state = self.edge_state(graph, self.random_roll(graph.vector))
        context, x = self.node_state(state, graph, self.type_features(graph, charge_spin))
        if torch.jit.is_scripting():
            x = self.run_blocks(x, context)
        else:
            with self.block_precision(graph.vector.device):
                x = self.run_blocks(x, context)
        return self.read_out(x)

    def sender_gate(self, graph: Graph) -> Tensor | None:
        """Gate of the sender of each edge, (E,); None without zone bridging."""
        factor = self.edge_features.clamp_gate(graph.vector.to(self.radial_basis.adam_freqs.dtype))
        return None if factor is None else source_gate(factor, graph)

    def random_roll(self, vector: Tensor) -> Tensor | None:
        """Angles by which the frames of the edges are turned, (E, 1); None where there is nothing to average."""
        if not (self.random_gamma and self.mixed_precision(vector.device)):
            return None
        angle = torch.rand([vector.shape[0], 1], dtype=self.radial_basis.adam_freqs.dtype, device=vector.device)
        return angle * (2.0 * math.pi)

    def edge_state(self, graph: Graph, roll: Tensor | None, gate: Tensor | None = None) -> EdgeState:
        """Geometry, radial features and first sums of all edges; needs no node feature but the types.

        Edges of a part of a graph come with the ``gate`` of the whole.
        """
        vector = graph.vector.to(self.radial_basis.adam_freqs.dtype)
        geometry = self.edge_features(vector, self.weighted_radial, roll)
        basis = self.enveloped_basis(geometry.distance)
        hidden = self.radial_embedding(basis)
        clamp_gate = geometry.clamp_gate
        matrix, zonal = geometry.environment, geometry.zonal
        if clamp_gate is not None and gate is None:
            gate = source_gate(clamp_gate, graph)
        if gate is not None:
            matrix, zonal = matrix * gate.unsqueeze(1), zonal * gate.unsqueeze(1)
        environment: Tensor | None = None
        if self.env_seed_embedding is not None:
            environment = self.env_seed_embedding.sum_edges(basis, matrix, graph)
        moments: Tensor | None = None
        if self.geometric_embedding is not None:
            moments = self.geometric_embedding.sum_edges(zonal, hidden, graph)
        degree = segment_sum(geometry.weight * geometry.weight, graph.receiver, graph.n_owned)
        return EdgeState(geometry, hidden, gate, degree, environment, moments)

    def node_state(self, state: EdgeState, graph: Graph, types: Tensor) -> tuple[EdgeContext, Tensor]:
        """What the blocks know, and the first node state (D, N, C), from the type features of all nodes."""
        geometry = state.geometry
        radial_weight: Tensor | None = geometry.weight if self.weighted_radial else None
        condition = EdgeCondition(state.hidden, self.radial_embedding.output_matrix(), radial_weight, types)
        # n_i of theory 2.6
        normalizer = torch.rsqrt(state.degree + self.degree_offset)
        context = EdgeContext(graph, geometry, condition, normalizer, state.source_gate)
        return context, self.initial_state(state, context)

    def enveloped_basis(self, distance: Tensor) -> Tensor:
        """Radial basis times its envelope, (E, n_radial)."""
        if self.native and not distance.is_cuda and self.bessel:
            exponent = len(self.basis_envelope.coefficients)
            frequencies = self.radial_basis.adam_freqs
            return torch.ops.dpa4.bessel_basis(distance, frequencies, self.basis_envelope.rcut, exponent)
        return self.radial_basis(distance) * self.basis_envelope(distance).unsqueeze(1)

    def mixed_precision(self, device: torch.device) -> bool:
        """Whether the blocks run in bfloat16."""
        return self.use_amp and self.training and device.type == "cuda"

    def block_precision(self, device: torch.device) -> torch.autocast:
        """Context in which the blocks run."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.mixed_precision(device))

    def type_features(self, graph: Graph, charge_spin: Tensor | None) -> Tensor:
        """T of all nodes, (M, C) (theory 2.7)."""
        types = self.type_embedding(graph.node_type)
        if self.charge_spin_embedding is not None:
            if charge_spin is None:
                raise ValueError("this model needs `charge_spin`: the charge and spin multiplicity of each frame")
            types = types + self.charge_spin_embedding(charge_spin).index_select(0, graph.frame)
        return types

    def initial_state(self, state: EdgeState, context: EdgeContext) -> Tensor:
        """First node state, (D, N, C), from the types and the sums over edges."""
        scalars = context.condition.type_feature[: context.graph.n_owned]
        environment, moments, normalizer = state.environment, state.moments, context.normalizer[:, None, None]
        if self.env_seed_embedding is None or environment is None:
            x = scalars.new_zeros([(self.lmax + 1) * (self.lmax + 1) - 1, scalars.shape[0], self.channels])
            return torch.cat([scalars.unsqueeze(0), x])
        seed = self.env_seed_embedding(environment * normalizer)
        scale, shift = seed[:, : self.channels], seed[:, self.channels :]
        if self.film_scale_norm is not None and self.film_shift_norm is not None:
            scale, shift = self.film_scale_norm(scale), self.film_shift_norm(shift)
        assert self.film_scale_strength_log is not None and self.film_shift_strength_log is not None
        scalars = scalars * (1.0 + torch.exp(self.film_scale_strength_log) * torch.tanh(scale))
        scalars = scalars + torch.exp(self.film_shift_strength_log) * torch.tanh(shift)
        if self.geometric_embedding is None or moments is None:
            return scalars.unsqueeze(0)
        rows = self.geometric_embedding(moments * normalizer, context.condition.output_matrix)
        return torch.cat([scalars.unsqueeze(0), rows])

    def run_blocks(self, x: Tensor, context: EdgeContext) -> Tensor:
        """The stack of blocks, (D, N, C) to the rows of the last block."""
        for block in self.blocks:
            x = block(x, context)
        return x

    def widen_block(self, index: int, x: Tensor, context: EdgeContext) -> tuple[Tensor, Tensor]:
        """Start of one block: widened features of the owned nodes (D, N, Cw), and of all nodes (M, D, Cw)."""
        wide = senders = x
        # TorchScript can walk through a list of modules but not take one of them by a variable
        position = 0
        for block in self.blocks:
            if position == index:
                wide = block.widen(x)  # type: ignore[operator]
                senders = block.spread(wide, context)  # type: ignore[operator]
            position += 1
        return wide, senders

    def sums_natively(self) -> bool:
        """Whether the sums over edges of all blocks run by native kernels on a CPU."""
        return self.native and not self.edge_features.dense

    def sum_block(self, index: int, senders: Tensor, context: EdgeContext) -> Tensor:
        """Sums over the edges of one block, (N, D, Cw), the part that reads other nodes (M, D, Cw)."""
        summed = senders
        position = 0
        for block in self.blocks:
            if position == index:
                summed = block.sum_senders(senders, context)  # type: ignore[operator]
            position += 1
        return summed

    def update_block(self, index: int, x: Tensor, wide: Tensor, summed: Tensor, normalizer: Tensor) -> Tensor:
        """Second half of one block, which acts on each node alone: the next node features (D, N, C)."""
        position = 0
        for block in self.blocks:
            if position == index:
                x = block.update(x, wide, summed, normalizer)  # type: ignore[operator]
            position += 1
        return x

    def read_out(self, x: Tensor) -> Tensor:
        """Residual read-out networks; only the scalars of the last one are computed, (N, C)."""
        x = x.to(self.radial_basis.adam_freqs.dtype)
        if self.so3_readout == "none":
            x = x[:1]
        for layer in self.readout_pre_layers:
            x = x + layer(x)
        return x[0] + self.output_ffn.scalar_row(x)  # type: ignore[operator]
