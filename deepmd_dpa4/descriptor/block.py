"""One block: norm, convolution, norm, residual; then feed-forward networks with norms and residuals (theory 5.6)."""

from torch import Tensor, nn

from deepmd_dpa4.config import DescriptorConfig
from deepmd_dpa4.descriptor.condition import EdgeContext
from deepmd_dpa4.descriptor.convolution import SO2Convolution
from deepmd_dpa4.nn.feedforward import FeedForward, GridFeedForward, automatic_width
from deepmd_dpa4.nn.initial import Initializer
from deepmd_dpa4.nn.norm import EquivariantRMSNorm

NORM_DELTA = 1e-5
# Without edge norms the norm of a message must not blow up messages that vanish at the cutoff.
MESSAGE_NORM_DELTA = 1.0


def build_feed_forward(config: DescriptorConfig, lmax: int, init: Initializer) -> nn.Module:
    """Feed-forward network of a block of degree ``lmax``."""
    options, grid, common = config.feed_forward, config.grid, config.common
    channels, bias = config.embedding.channels, common.mlp_bias
    on_grid = options.ffn_so3_grid or grid.s2_activation[1]
    hidden = options.ffn_neurons or automatic_width(channels, on_grid or options.glu_activation)
    if on_grid:
        kmax = min(grid.kmax, lmax) if options.ffn_so3_grid else None
        kind, branches, lebedev = grid.operation(2), grid.branches(2), grid.lebedev(1)
        return GridFeedForward(lmax, kmax, channels, hidden, kind, branches, lebedev, bias, init)
    return FeedForward(lmax, channels, hidden, options.glu_activation, common.activation_function, bias, init)


class Block(nn.Module):
    """Node features (D', N, C) to (D, N, C), D <= D'.

    Parameters
    ----------
    config : DescriptorConfig
        Options.
    index : int
        Position of the block.
    init : Initializer
        Source of weights.
    """

    def __init__(self, config: DescriptorConfig, index: int, init: Initializer) -> None:
        super().__init__()
        degrees, orders = config.message.degrees, config.message.orders
        lmax, mmax = degrees[index], orders[index]
        channels, n_ffn = config.embedding.channels, config.feed_forward.ffn_blocks
        pre_so2, post_so2, pre_ffn, post_ffn = config.common.sandwich_norm
        delta = NORM_DELTA if config.common.edge_norm else MESSAGE_NORM_DELTA

        def norm(enabled: bool, delta: float = NORM_DELTA) -> nn.Module:
            return EquivariantRMSNorm(lmax, channels, delta, init) if enabled else nn.Identity()

        self.size = (lmax + 1) ** 2
        self.pre_so2_norm = norm(pre_so2)
        self.post_so2_norm = norm(post_so2, delta)
        self.so2_conv = SO2Convolution(config, lmax, mmax, max(degrees), max(orders), init)
        self.pre_ffn_norms = nn.ModuleList([norm(pre_ffn) for _ in range(n_ffn)])
        self.post_ffn_norms = nn.ModuleList([norm(post_ffn) for _ in range(n_ffn)])
        self.ffns = nn.ModuleList([build_feed_forward(config, lmax, init) for _ in range(n_ffn)])
        last = index == len(degrees) - 1
        # only the scalars of the last block are read, and without a norm behind it its last network can skip the rest
        self.scalar_output = last and config.feed_forward.so3_readout == "none" and not post_ffn

    def forward(self, x: Tensor, context: EdgeContext) -> Tensor:
        x = x[: self.size]
        wide = self.widen(x)
        return self.update(x, wide, self.sum_edges(wide, context), context.normalizer)

    def widen(self, x: Tensor) -> Tensor:
        """Node features that the edges read, (D, N, Cw) (theory 4.1)."""
        return self.so2_conv.pre_focus_mix(self.pre_so2_norm(x))

    def sum_edges(self, wide: Tensor, context: EdgeContext) -> Tensor:
        """Weighted sums over the edges of each receiver, (N, D, Cw)."""
        return self.so2_conv.sum_edges(wide, context)

    def spread(self, wide: Tensor, context: EdgeContext) -> Tensor:
        """Widened features of all nodes, ghosts of other ranks included, (M, D, Cw)."""
        return self.so2_conv.senders(wide, context.graph)

    def sum_senders(self, senders: Tensor, context: EdgeContext) -> Tensor:
        """Sums over edges (N, D, Cw) of the widened features of all nodes (M, D, Cw)."""
        return self.so2_conv.sum_senders(senders, context)

    def update(self, x: Tensor, wide: Tensor, summed: Tensor, normalizer: Tensor) -> Tensor:
        """Next node features from the sums over edges (N, D, Cw); acts on each node alone."""
        x = x + self.post_so2_norm(self.so2_conv.finish(summed, wide, normalizer))
        remaining = len(self.ffns)
        for pre_norm, ffn, post_norm in zip(self.pre_ffn_norms, self.ffns, self.post_ffn_norms):
            remaining -= 1
            if self.scalar_output and remaining == 0:
                x = x[:1] + ffn.scalar_row(pre_norm(x)).unsqueeze(0)  # type: ignore[operator]
            else:
                x = x + post_norm(ffn(pre_norm(x)))
        return x


def is_covered(block: nn.Module) -> bool:
    """Whether the edge part of a block has a native implementation."""
    return block.so2_conv.covered  # type: ignore[union-attr, return-value]
