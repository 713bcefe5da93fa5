"""The DPA4 network: graph to invariant features of each atom."""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from deepmd_dpa4.config import DescriptorConfig
from deepmd_dpa4.descriptor.block import Block
from deepmd_dpa4.descriptor.condition import EdgeCondition, EdgeContext
from deepmd_dpa4.descriptor.embedding import FILM_STRENGTH, EnvironmentSeed, GeometricEmbedding
from deepmd_dpa4.descriptor.readout import build_readout
from deepmd_dpa4.descriptor.source_gate import source_gate
from deepmd_dpa4.descriptor.stages import Stage, network_stages
from deepmd_dpa4.graph.cutoff import CutoffEnvelope, InnerClamp
from deepmd_dpa4.graph.graph import Ends, Graph
from deepmd_dpa4.graph.order import with_order
from deepmd_dpa4.graph.radial import BesselBasis, GaussianBasis
from deepmd_dpa4.nn.initial import Initializer
from deepmd_dpa4.nn.norm import ScalarRMSNorm
from deepmd_dpa4.nn.radial_mlp import RadialMLP
from deepmd_dpa4.nn.type_embedding import ChargeSpinEmbedding, TypeEmbedding
from deepmd_dpa4.ops.bessel import EnvelopedBessel
from deepmd_dpa4.ops.measure_edges import MeasureEdges
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

    version_tensor: Tensor
    # TorchScript reads the annotations of a class, so these exist for the type checker alone.
    if TYPE_CHECKING:
        blocks: Any
        readout_pre_layers: Any
        output_ffn: Any

    def __init__(
        self, config: DescriptorConfig, ntypes: int, dtype: torch.dtype, clamp: InnerClamp | None = None
    ) -> None:
        super().__init__()
        self.config = config
        init = Initializer(dtype, config.common.seed)
        geometry, embedding, common = config.geometry, config.embedding, config.common
        channels, degrees = embedding.channels, config.message.degrees
        self.channels, self.eps = channels, geometry.eps
        self.set_version(VERSION)
        self.use_amp, self.random_gamma = common.use_amp, config.message.random_gamma
        self.use_env_seed, self.lmax = embedding.use_env_seed, degrees[0]
        self.register_buffer("version_tensor", torch.tensor(VERSION, dtype=torch.float64))
        wigner = WignerRows(max(degrees), max(config.message.orders), dtype)
        self.measure_edges = MeasureEdges(geometry.rcut, geometry.weight_exponent, geometry.eps, wigner, clamp)
        self.pairs = Pairs()
        self.type_embedding = TypeEmbedding(ntypes, channels, init)
        self.charge_spin_embedding = (
            ChargeSpinEmbedding(channels, common.activation_function, init) if embedding.add_chg_spin_ebd else None
        )
        self._build_seed(config, ntypes, init)
        self.bessel = geometry.basis_family == "bessel"
        basis = BesselBasis if self.bessel else GaussianBasis
        self.radial_basis = basis(geometry.rcut, geometry.n_radial, dtype, geometry.fixed_basis)
        exponent = geometry.basis_exponent
        self.basis_envelope = None if exponent is None else CutoffEnvelope(geometry.rcut, exponent)
        self.enveloped_bessel = EnvelopedBessel(geometry.rcut, exponent)
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
        self.bridged = clamp is not None
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

    def features(self, graph: Graph, charge_spin: Tensor | None) -> Tensor:
        """Evaluate the features of the owned nodes, (N, C).

        Parameters
        ----------
        graph : Graph
            Nodes and edges.
        charge_spin : Tensor, optional
            Charge and spin multiplicity of each frame, (frames, 2).
        """
        values = self.inputs(graph, charge_spin)
        for stage in self.stages(graph.vector, True):
            values.update(self.run_stage(stage, graph, values))
        return values["features"]

    def inputs(self, graph: Graph, charge_spin: Tensor | None) -> dict[str, Tensor]:
        """Collect the tensors that the first stages read."""
        values = {"vector": graph.vector}
        roll = self.random_roll(graph.vector)
        if roll is not None:
            values["roll"] = roll
        if charge_spin is not None:
            values["charge_spin"] = charge_spin
        return values

    def ordered_ends(self, graph: Graph) -> Ends:
        """Return the nodes of the edges, with their order by sender if an operation sums over it."""
        if torch.jit.is_scripting():
            return graph.ends
        else:
            reads_order = any(block.so2_conv.rotate_in.by_sender for block in self.blocks)
            return with_order(graph.ends, graph.node_type.shape[0]) if reads_order else graph.ends

    def stages(self, vector: Tensor, shared_rotation: bool) -> list[Stage]:
        """List the stages for the device of the edge vectors; see :func:`network_stages`."""
        return network_stages(self.bridged, self.use_env_seed, self.served(vector), shared_rotation)

    def served(self, vector: Tensor) -> list[bool]:
        """Tell for each block whether one operation forms its messages."""
        found: list[bool] = []
        for block in self.blocks:
            found.append(block.so2_conv.edge_message.serves(vector))
        return found

    def run_stage(self, stage: Stage, graph: Graph, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Run one stage.

        Parameters
        ----------
        stage : Stage
            One of :meth:`stages`.
        graph : Graph
            Nodes and edges; edge vectors are read from ``values``.
        values : dict[str, Tensor]
            What the stages before have made.

        Returns
        -------
        dict[str, Tensor]
            What this one makes.
        """
        made: dict[str, Tensor] = {}
        if stage.name == "types":
            made["types"] = self.type_features(graph, values.get("charge_spin"))
        elif stage.name == "gate":
            contact = self.measure_edges.contact(graph.node_type, graph.ends)
            factor = self.measure_edges.clamp_gate(self.in_precision(values["vector"]), contact)
            made["gate"] = source_gate(factor, graph)
        elif stage.name == "edges":
            made = self.edge_stage(graph, values)
        elif stage.name == "rotation":
            made["rotation"] = self.measure_edges.dense(values["compact"])
        elif stage.name == "normalizer":
            # n_i of theory 2.6
            made["normalizer"] = torch.rsqrt(values["degree"] + self.degree_offset)
        elif stage.name == "first_state":
            made["x"] = self.first_state(graph, values)
        elif stage.name == "read_out":
            made["features"] = self.read_out(values["x"])
        elif torch.jit.is_scripting():
            made = self.block_stage(stage, graph, values)
        else:
            with self.block_precision(graph.vector.device):
                made = self.block_stage(stage, graph, values)
        return made

    def block_stage(self, stage: Stage, graph: Graph, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Run one stage of a block."""
        made: dict[str, Tensor] = {}
        # TorchScript can walk through a list of modules but not take one of them by a variable
        position = 0
        for block in self.blocks:
            if position == stage.block:
                if stage.name == "widen":
                    made["wide"] = block.widen(values["x"])
                elif stage.name == "send":
                    made["senders"] = block.so2_conv.senders(values["wide"], graph)
                elif stage.name == "sum":
                    context = self.edge_context(stage, graph.ends, values)
                    made["summed"] = block.so2_conv.sum_edges(values["senders"], context)
                elif stage.name == "update":
                    wide, summed = values["wide"], values["summed"]
                    made["x"] = block.update(values["x"], wide, summed, values["normalizer"])
            position += 1
        return made

    def edge_context(self, stage: Stage, ends: Ends, values: dict[str, Tensor]) -> EdgeContext:
        """Collect what the sum over the edges of a block reads besides node features."""
        weight = values["weight"]
        condition = EdgeCondition(values["hidden"], self.radial_embedding.output_matrix(), values["types"])
        rotation = values["compact"] if "compact" in stage.reads else values["rotation"]
        return EdgeContext(ends, weight, rotation, condition, values.get("gate"))

    def random_roll(self, vector: Tensor) -> Tensor | None:
        """Draw the angles by which the frames of the edges are turned, (E, 1); None where nothing is to be averaged."""
        if not (self.random_gamma and self.mixed_precision(vector.device)):
            return None
        angle = torch.rand([vector.shape[0], 1], dtype=self.radial_basis.adam_freqs.dtype, device=vector.device)
        return angle * (2.0 * math.pi)

    def edge_stage(self, graph: Graph, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute geometry, radial features and first sums of all edges; needs no node feature but the types."""
        contact = self.measure_edges.contact(graph.node_type, graph.ends)
        vector, roll = self.in_precision(values["vector"]), values.get("roll")
        geometry = self.measure_edges(vector, self.weighted_radial, roll, contact)
        basis, ends = self.enveloped_basis(geometry.distance), graph.ends
        hidden = self.radial_embedding(basis)
        matrix, zonal, gate = geometry.environment, geometry.zonal, values.get("gate")
        if gate is not None:
            matrix, zonal = matrix * gate.unsqueeze(1), zonal * gate.unsqueeze(1)
        made = {"weight": geometry.weight, "compact": geometry.compact, "hidden": hidden}
        made["degree"] = segment_sum(geometry.weight * geometry.weight, ends.receiver, ends.n_receivers)
        if self.env_seed_embedding is not None:
            made["environment"] = self.env_seed_embedding.sum_edges(basis, matrix, graph)
        if self.geometric_embedding is not None:
            made["moments"] = self.geometric_embedding.sum_edges(zonal, hidden, ends)
        if self.weighted_radial:
            made["hidden"] = hidden * geometry.weight.unsqueeze(1)
        return made

    def in_precision(self, vector: Tensor) -> Tensor:
        """Convert edge vectors to the precision of the parameters."""
        return vector.to(self.radial_basis.adam_freqs.dtype)

    def enveloped_basis(self, distance: Tensor) -> Tensor:
        """Compute the radial basis, times its envelope if it has one, (E, n_radial)."""
        if self.bessel:
            return self.enveloped_bessel(distance, self.radial_basis.adam_freqs)
        values = self.radial_basis(distance)
        if self.basis_envelope is not None:
            values = values * self.basis_envelope(distance).unsqueeze(1)
        return values

    def mixed_precision(self, device: torch.device) -> bool:
        """Tell whether the blocks run in bfloat16."""
        return self.use_amp and self.training and device.type == "cuda"

    def block_precision(self, device: torch.device) -> torch.autocast:
        """Enter the precision in which the blocks run."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.mixed_precision(device))

    def type_features(self, graph: Graph, charge_spin: Tensor | None) -> Tensor:
        """Compute T of all nodes, (M, C) (theory 2.7)."""
        types = self.type_embedding(graph.node_type)
        if self.charge_spin_embedding is not None:
            if charge_spin is None:
                raise ValueError("this model needs `charge_spin`: the charge and spin multiplicity of each frame")
            types = types + self.charge_spin_embedding(charge_spin).index_select(0, graph.frame)
        return types

    def first_state(self, graph: Graph, values: dict[str, Tensor]) -> Tensor:
        """Compute the first node state, (D, N, C), from the types and the sums over edges."""
        scalars = values["types"][: graph.ends.n_receivers]
        if self.env_seed_embedding is None:
            x = scalars.new_zeros([(self.lmax + 1) * (self.lmax + 1) - 1, scalars.shape[0], self.channels])
            return torch.cat([scalars.unsqueeze(0), x])
        normalizer = values["normalizer"][:, None, None]
        seed = self.env_seed_embedding(values["environment"] * normalizer)
        scale, shift = seed[:, : self.channels], seed[:, self.channels :]
        if self.film_scale_norm is not None and self.film_shift_norm is not None:
            scale, shift = self.film_scale_norm(scale), self.film_shift_norm(shift)
        assert self.film_scale_strength_log is not None and self.film_shift_strength_log is not None
        scalars = scalars * (1.0 + torch.exp(self.film_scale_strength_log) * torch.tanh(scale))
        scalars = scalars + torch.exp(self.film_shift_strength_log) * torch.tanh(shift)
        if self.geometric_embedding is None:
            return scalars.unsqueeze(0)
        rows = self.geometric_embedding(values["moments"] * normalizer, self.radial_embedding.output_matrix())
        return torch.cat([scalars.unsqueeze(0), rows])

    def read_out(self, x: Tensor) -> Tensor:
        """Apply the residual read-out networks; of the last one only the scalars are computed, (N, C)."""
        x = x.to(self.radial_basis.adam_freqs.dtype)
        if self.so3_readout == "none":
            x = x[:1]
        for layer in self.readout_pre_layers:
            x = x + layer(x)
        return x[0] + self.output_ffn.scalar_row(x)
