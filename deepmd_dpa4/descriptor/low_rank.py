"""Which parameters of a network a low-rank fine-tuning trains (theory 8)."""

import re

from torch import nn

from deepmd_dpa4.config.model import LowRankConfig
from deepmd_dpa4.nn.initial import Initializer
from deepmd_dpa4.nn.linear import SO3Linear
from deepmd_dpa4.nn.so2_linear import SO2Linear

# Small ones, and the radial networks, from which everything about distances comes.
_TRAINED = re.compile(
    r"(^|\.)(env_seed_embedding|radial_embedding|attn_[qk]_proj|radial_hidden_proj)\."
    r"|(^|\.)(adam_scale|film_\w+_strength_log|adamw_(attn|focus)\w+|[AB]_(by_l|m0|m\.\d+))$"
    r"|bias\w*$"
)
_FROZEN = re.compile(r"(^|\.)(adam_type_embedding|adam_freqs|gate_linear\.\w+)$")


def is_adapted(network: nn.Module) -> bool:
    """Tell whether the linear maps of a network carry low-rank updates."""
    return any(
        isinstance(layer, SO2Linear | SO3Linear) and layer.lora_scaling is not None for layer in network.modules()
    )


def adapt(network: nn.Module, config: LowRankConfig, seed: int | tuple[int, ...] | None = None) -> None:
    """Add a low-rank update to every linear map of degrees and orders, and freeze what does not train with them.

    The updates vanish at first, so the network computes what it did. Nothing happens to a network that has them.
    """
    if is_adapted(network):
        return
    example = next(network.parameters())
    init = Initializer(example.dtype, seed)
    for layer in network.modules():
        if isinstance(layer, SO2Linear | SO3Linear):
            layer.adapt(config.rank, config.scaling, init)
    for name, parameter in network.named_parameters():
        if _FROZEN.search(name) or not _TRAINED.search(name):
            parameter.requires_grad = False
