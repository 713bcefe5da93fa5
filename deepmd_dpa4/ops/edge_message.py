"""The edge part of a convolution as one operation on whole edges (theory 4.3 to 4.8)."""

import torch
from torch import Tensor

from deepmd_dpa4.config import DescriptorConfig
from deepmd_dpa4.graph.graph import Ends
from deepmd_dpa4.ops.operation import Coverage, OnCpu, Operation, Options

# What the native operator is written for; other networks run in plain torch.
LARGEST_DEGREE, MOST_STREAMS, MOST_HEADS = 5, 8, 8


class EdgeMessage(Operation):
    """Form the features of an edge, mix them, turn them back and sum them per receiver, without keeping them.

    Its meaning in plain torch needs the layers of the network and stands where they are:
    :meth:`deepmd_dpa4.descriptor.edge_sum.EdgeSumMethods.plain_sum`, which runs where :meth:`serves` is false.

    Parameters
    ----------
    config : DescriptorConfig
        Options of the network.
    lmax, mmax : int
        Degree and order of the block.
    """

    def __init__(self, config: DescriptorConfig, lmax: int, mmax: int) -> None:
        super().__init__(config)
        message = config.message
        by_degree = message.radial_so2_mode != "none"
        rank = max(message.radial_so2_rank, 1) if message.radial_so2_mode == "degree_channel" else int(by_degree)
        self.lmax, self.mmax, self.table_mmax = lmax, mmax, max(message.orders)
        self.streams, self.heads, self.layers = message.n_focus, max(message.n_atten_head, 1), message.mixing_layers
        self.rank, self.focus_norm = rank, config.common.edge_norm and message.n_focus > 1
        self.known_degree = 1 <= lmax <= LARGEST_DEGREE

    def serves(self, features: Tensor) -> bool:
        """Tell whether this implementation computes the message, in one operation."""
        return False

    def forward(
        self,
        features: Tensor,
        compact: Tensor,
        kernels: Tensor,
        weight: Tensor,
        stack: Tensor,
        focus: Tensor | None,
        ends: Ends,
    ) -> Tensor:
        """Sum the messages of the edges of each receiver.

        Parameters
        ----------
        features : Tensor
            Features of the senders times the channel basis of the mixer, (M, rank * D, Cw).
        compact : Tensor
            Rows of D without their zeros, (E, nnz).
        kernels : Tensor
            Kernels of the degree mixer, or the edge condition of each degree without one, (E, .).
        weight : Tensor
            Weight of each edge in the sum, (E, F, H) or (E, 1, 1).
        stack : Tensor
            Weights of the SO(2) layers and their gates, flat.
        focus : Tensor, optional
            Weights that read the scores of the focus streams, (F, Cf).
        ends : Ends
            Nodes of the edges, sorted by receiver.

        Returns
        -------
        Tensor
            (N, D, Cw).
        """
        raise NotImplementedError("plain torch forms messages layer by layer")


class CpuEdgeMessage(OnCpu, EdgeMessage):
    """By ``dpa4::edge_message``, which takes tiles of edges through all layers in the cache."""

    @classmethod
    def supports(cls, config: DescriptorConfig | None, device: torch.device, dtype: torch.dtype) -> bool:
        return super().supports(config, device, dtype) and config is not None and COVERED(config)

    def serves(self, features: Tensor) -> bool:
        return self.known_degree and not features.is_cuda

    def forward(
        self,
        features: Tensor,
        compact: Tensor,
        kernels: Tensor,
        weight: Tensor,
        stack: Tensor,
        focus: Tensor | None,
        ends: Ends,
    ) -> Tensor:
        return torch.ops.dpa4.edge_message(
            features,
            compact,
            kernels,
            weight.expand(-1, self.streams, -1),
            stack,
            focus,
            ends.sender,
            ends.receiver,
            ends.n_receivers,
            lmax=self.lmax,
            mmax=self.mmax,
            table_mmax=self.table_mmax,
            streams=self.streams,
            heads=self.heads,
            layers=self.layers,
            rank=self.rank,
            focus_norm=self.focus_norm,
        )


# What acts before messages are formed, what sets their sizes and weights, what acts on their sums.
_BEFORE = (
    "rcut sel env_exp eps exclude_types basis_type n_radial radial_mlp channels use_env_seed add_chg_spin_ebd "
    "default_chg_spin"
)
_SIZES = "lmax mmax n_blocks l_schedule m_schedule focus_dim edge_norm random_gamma precision seed trainable"
_AFTER = (
    "message_node_so3 kmax grid_mlp grid_branch lebedev_quadrature ffn_neurons ffn_so3_grid ffn_blocks glu_activation "
    "so3_readout readout_layers sandwich_norm use_amp"
)


def _has_shared_kernels(options: Options) -> bool:
    return options["radial_so2_mode"] != "degree_channel" or options["radial_so2_rank"] > 0


COVERED = Coverage(
    free=frozenset(" ".join((_BEFORE, _SIZES, _AFTER)).split()),
    limits={
        "mixing_layers": lambda options: options["mixing_layers"] > 0,
        "radial_so2_mode": _has_shared_kernels,
        "radial_so2_rank": _has_shared_kernels,
        "n_focus": lambda options: options["n_focus"] <= MOST_STREAMS,
        "n_atten_head": lambda options: options["n_atten_head"] <= MOST_HEADS,
        "activation_function": lambda options: options["activation_function"].lower() == "silu",
        "mlp_bias": lambda options: not options["mlp_bias"],
        "s2_activation": lambda options: not options["s2_activation"][0],
    },
)
"""Options of networks whose messages the native operator forms."""
