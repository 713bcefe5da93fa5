"""Read-out: l > 0 folded into invariants (theory 6.1)."""

from torch import nn

from deepmd_dpa4.config import DescriptorConfig
from deepmd_dpa4.nn.feedforward import FeedForward, GridFeedForward, automatic_width
from deepmd_dpa4.nn.initial import Initializer


def build_readout(config: DescriptorConfig, init: Initializer) -> nn.Module:
    """Build one residual read-out network.

    Without a product it is a gated network on scalars; else an SO(3) grid network with operation ``glu`` or ``mlp``
    and the degree of the last block.
    """
    options, common = config.feed_forward, config.common
    channels = config.embedding.channels
    kind = options.so3_readout
    hidden = options.ffn_neurons or automatic_width(channels, kind != "none" or options.glu_activation)
    if kind == "none":
        act = common.activation_function
        return FeedForward(0, channels, hidden, options.glu_activation, act, common.mlp_bias, init)
    lmax = config.message.degrees[-1]
    kmax = min(config.grid.kmax, lmax)
    return GridFeedForward(lmax, kmax, channels, hidden, kind, 0, True, common.mlp_bias, init)
