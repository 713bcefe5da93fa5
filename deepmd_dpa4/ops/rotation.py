"""Into the edge frames and back."""

import torch
from torch import Tensor

from deepmd_dpa4.config import DescriptorConfig
from deepmd_dpa4.graph.graph import Ends
from deepmd_dpa4.graph.order import received_of
from deepmd_dpa4.ops.operation import Coverage, OnCuda, Operation, Options

# What the kernels in Triton have tiles for; other networks run in plain torch.
LARGEST_DEGREE, LARGEST_ORDER, MOST_CHANNELS = 5, 3, 256


class RotateIn(Operation):
    """Turn the features of the senders (M, D, C) by matrices (E, rows, D) into edge frames: (E, rows, C).

    ``by_sender`` tells whether derivatives read the order of the edges by sender.
    """

    by_sender = False

    def forward(self, features: Tensor, ends: Ends, matrix: Tensor) -> Tensor:
        return rotate_in(features, ends.sender, matrix)


class TritonRotateIn(OnCuda, RotateIn):
    """By ``dpa4_triton::turn_in``, which reads the rows of the sender where they are."""

    by_sender = True

    @classmethod
    def supports(cls, config: DescriptorConfig | None, device: torch.device, dtype: torch.dtype) -> bool:
        return super().supports(config, device, dtype) and config is not None and COVERED(config)

    def forward(self, features: Tensor, ends: Ends, matrix: Tensor) -> Tensor:
        from deepmd_dpa4.ops.triton.rotation import turn_in

        features, matrix, sent = features.contiguous(), in_full(matrix), None if ends.spans is None else ends.spans[1]
        kind = features.device.type
        # as matrix products are rounded there
        precision = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        return turn_in(features, matrix, ends.sender, ends.by_sender, sent, precision)  # type: ignore[no-any-return]


class RotateBackSum(Operation):
    r"""Turn edge features back, weigh them, and sum them per receiver.

    .. math:: y_i = \sum_{e \to i} D_e^T (w_e h_e)

    Features (E, rows, C), weights (E, F, H) of F * H groups of consecutive channels, matrices (E, rows, D):
    (n_receivers, D, C).
    """

    def forward(self, local: Tensor, weight: Tensor, matrix: Tensor, ends: Ends) -> Tensor:
        return weighted_back_sum(local, weight, matrix, ends.receiver, ends.n_receivers)


class TritonRotateBackSum(OnCuda, RotateBackSum):
    """By ``dpa4_triton::turn_back_sum``, one program for each receiver; edges are sorted by receiver."""

    @classmethod
    def supports(cls, config: DescriptorConfig | None, device: torch.device, dtype: torch.dtype) -> bool:
        return super().supports(config, device, dtype) and config is not None and COVERED(config)

    def forward(self, local: Tensor, weight: Tensor, matrix: Tensor, ends: Ends) -> Tensor:
        from deepmd_dpa4.ops.triton.rotation import turn_back_sum

        local, matrix, received = local.contiguous(), in_full(matrix), received_of(ends)
        weight = weight.flatten(1).to(matrix.dtype).contiguous()
        return turn_back_sum(local, matrix, weight, ends.receiver, ends.n_receivers, spans=received)  # type: ignore[no-any-return]


def rotate_in(features: Tensor, sender: Tensor, matrix: Tensor) -> Tensor:
    """Rotate the features of the senders into the edge frames: matrix (E, rows, D) times features[sender] (M, D, C)."""
    return torch.bmm(matrix, features.index_select(0, sender))


def rotate_back_sum(local: Tensor, matrix: Tensor, receiver: Tensor, n_receivers: int) -> Tensor:
    """Turn edge features (E, rows, C) back with the transpose of ``matrix`` and sum them per receiver.

    Weights of the edges are best folded into ``matrix`` (E, rows, D) beforehand. Result (n_receivers, D, C).
    """
    turned = torch.bmm(matrix.transpose(1, 2), local)
    shape = [n_receivers, turned.shape[1], turned.shape[2]]
    # sums stay in fp32 when autocast makes the products bfloat16
    total = torch.zeros(shape, dtype=matrix.dtype, device=matrix.device)
    return total.index_add(0, receiver, turned.to(matrix.dtype))


def weighted_back_sum(local: Tensor, weight: Tensor, matrix: Tensor, receiver: Tensor, n_receivers: int) -> Tensor:
    """Define :class:`RotateBackSum`."""
    if weight.shape[1] * weight.shape[2] == 1:
        return rotate_back_sum(local, matrix * weight, receiver, n_receivers)
    return rotate_back_sum(weigh(local, weight), matrix, receiver, n_receivers)


def weigh(local: Tensor, weight: Tensor) -> Tensor:
    """Multiply edge features (E, rows, C) by the weights of their groups of channels, (E, F, H)."""
    edges, rows, width = local.shape
    streams, heads = weight.shape[1], weight.shape[2]
    shape = [edges, rows, streams, heads, width // (streams * heads)]
    return (local.view(shape) * weight[:, None, :, :, None]).flatten(2)


def in_full(matrix: Tensor) -> Tensor:
    """Return a contiguous matrix in which sums can be taken: autocast makes bfloat16 of products."""
    if matrix.dtype == torch.bfloat16 or matrix.dtype == torch.float16:
        matrix = matrix.to(torch.float32)
    return matrix.contiguous()


def _width(options: Options) -> int:
    return int(options["n_focus"] * (options["focus_dim"] or options["channels"]))


# What the kernels never see: how the features and weights that they are given are made, and what their results go to.
_ELSEWHERE = (
    "sel rcut env_exp basis_type n_radial radial_mlp exclude_types eps use_env_seed add_chg_spin_ebd default_chg_spin "
    "n_blocks mixing_layers radial_so2_mode n_atten_head message_node_so3 random_gamma kmax grid_mlp grid_branch "
    "s2_activation lebedev_quadrature ffn_neurons ffn_so3_grid ffn_blocks glu_activation so3_readout readout_layers "
    "edge_norm sandwich_norm mlp_bias activation_function precision use_amp trainable seed"
)


def _has_known_degrees(options: Options) -> bool:
    return max([options["lmax"], *(options["l_schedule"] or [])]) <= LARGEST_DEGREE


def _has_known_orders(options: Options) -> bool:
    return max([options["mmax"], *(options["m_schedule"] or [])]) <= LARGEST_ORDER


def _has_known_width(options: Options) -> bool:
    return _width(options) <= MOST_CHANNELS


COVERED = Coverage(
    free=frozenset(_ELSEWHERE.split()),
    limits={
        "lmax": _has_known_degrees,
        "l_schedule": _has_known_degrees,
        "mmax": _has_known_orders,
        "m_schedule": _has_known_orders,
        "radial_so2_rank": lambda options: options["radial_so2_rank"] <= 4,
        "n_focus": _has_known_width,
        "focus_dim": _has_known_width,
        "channels": _has_known_width,
    },
)
"""Options of networks whose features the kernels in Triton turn."""
