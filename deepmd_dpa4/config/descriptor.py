"""Options of the descriptor, grouped by the part of the network that reads them.

Option names and defaults are those of DeePMD-kit 3.2.0 (theory 9.1); a flat input section is turned into
these groups by :func:`deepmd_dpa4.config.parse.parse_descriptor`.
"""

import math
from dataclasses import dataclass, field, fields
from itertools import pairwise

from deepmd_dpa4.config.option import option, require, require_one_of

ACTIVATIONS = ("silu", "tanh", "gelu", "gelu_tf", "relu", "relu6", "softplus", "sigmoid", "linear", "none")
FIXED = "/fix"
"""Ending of the names of radial bases that are not trained."""
BASES = ("bessel", "gaussian", f"bessel{FIXED}", f"gaussian{FIXED}")
PRECISIONS = ("float32", "float64", "default", "half", "float16", "bfloat16", "single", "double")


@dataclass(frozen=True, kw_only=True)
class GeometryConfig:
    """Edges, envelopes and the radial basis (theory 2)."""

    sel: int | tuple[int, ...] | str = option(
        256,
        "Expected number of neighbours. A hint for buffers of DeePMD-kit only: edges are never truncated. "
        '`"auto"` and `"auto:1.1"` measure it on the training data.',
    )
    rcut: float = option(6.0, "Cutoff radius in Angstrom.")
    env_exp: int | tuple[int, ...] = option(
        (7, 5),
        "Exponents of the two cutoff envelopes: of the radial basis and of the edge weight. "
        "Larger values keep the envelope near 1 for longer. A single integer, such as 5, is the exponent of the edge "
        "weight; the radial basis then has no envelope.",
    )
    basis_type: str = option(
        "bessel",
        "Radial basis: `bessel` or `gaussian`, whose frequencies or centres are trained, or `bessel/fix` or "
        "`gaussian/fix`, whose frequencies or centres keep the values they start from.",
    )
    n_radial: int = option(16, "Number of radial basis functions.")
    radial_mlp: tuple[int, ...] = option((0,), "Hidden widths of the radial network; 0 stands for `channels`.")
    exclude_types: tuple[tuple[int, int], ...] = option(
        (), "Pairs of type indices that do not see each other, for instance `[[0, 1]]`."
    )
    eps: float = option(1e-7, "Small length that keeps distances differentiable.")

    def __post_init__(self) -> None:
        require(self.rcut > 0, "rcut", self.rcut, "must be positive")
        exponents = self.env_exp
        allowed = exponents >= 1 if isinstance(exponents, int) else len(exponents) == 2 and min(exponents) >= 1
        require(allowed, "env_exp", _plain(exponents), "must be one integer of at least 1, or a list of two")
        require_one_of("basis_type", self.basis_type, BASES)
        require(self.n_radial >= 1, "n_radial", self.n_radial, "must be at least 1")
        require(all(w >= 0 for w in self.radial_mlp), "radial_mlp", list(self.radial_mlp), "must not be negative")
        require(self.eps > 0, "eps", self.eps, "must be positive")
        given = self.sel
        if isinstance(given, str):
            require(_is_automatic(given), "sel", given, 'must be an integer, a list or "auto[:factor]"')
        else:
            numbers = (given,) if isinstance(given, int) else given
            positive = min(numbers, default=0) >= 0 and sum(numbers) > 0
            require(positive, "sel", _plain(given), "must hold positive numbers of neighbours")

    @property
    def basis_exponent(self) -> int | None:
        """Exponent of the envelope of the radial basis; None if it has no envelope."""
        return None if isinstance(self.env_exp, int) else self.env_exp[0]

    @property
    def weight_exponent(self) -> int:
        """Exponent of the envelope that is the edge weight."""
        return self.env_exp if isinstance(self.env_exp, int) else self.env_exp[1]

    @property
    def basis_family(self) -> str:
        """Kind of functions of the radial basis: ``bessel`` or ``gaussian``."""
        return basis_family(self.basis_type)

    @property
    def fixed_basis(self) -> bool:
        """Whether frequencies or centres of the radial basis are not trained."""
        return self.basis_type.endswith(FIXED)


@dataclass(frozen=True, kw_only=True)
class EmbeddingConfig:
    """First node state (theory 2.7, 3)."""

    channels: int = option(64, "Number of channels C of the node features.")
    use_env_seed: bool = option(
        True, "Condition the first scalar features on the local environment and fill l > 0 from the geometry."
    )
    add_chg_spin_ebd: bool = option(
        False, "Condition on the total charge and spin multiplicity of a frame, given as `charge_spin` data."
    )
    default_chg_spin: tuple[float, ...] | None = option(
        None, "Charge and spin multiplicity of frames that give none, for instance `[0, 1]`."
    )

    def __post_init__(self) -> None:
        require(self.channels >= 1, "channels", self.channels, "must be at least 1")
        given = self.default_chg_spin
        require(
            given is None or len(given) == 2, "default_chg_spin", _plain(given), "must hold a charge and a multiplicity"
        )


@dataclass(frozen=True, kw_only=True)
class MessageConfig:
    """The EMFA SO(2) convolution (theory 4)."""

    lmax: int = option(3, "Highest degree l of the features.")
    mmax: int | None = option(1, "Highest order |m| mixed in the edge frame; null means `lmax`.")
    n_blocks: int = option(3, "Number of interaction blocks.")
    l_schedule: tuple[int, ...] | None = option(
        None, "Degree of each block, not increasing; replaces `lmax` and `n_blocks`."
    )
    m_schedule: tuple[int, ...] | None = option(None, "Order of each block; replaces `mmax`.")
    mixing_layers: int = option(4, "Number of SO(2) layers of a message.")
    radial_so2_mode: str = option(
        "degree_channel",
        "How the edge condition enters: `none` scales each (l, c); `degree` mixes the degrees with one kernel; "
        "`degree_channel` mixes the degrees with a channel basis of rank `radial_so2_rank`.",
    )
    radial_so2_rank: int = option(1, "Rank of the channel basis of `degree_channel`; 0 = a kernel for every channel.")
    n_focus: int = option(1, "Number of focus streams of a message.")
    focus_dim: int = option(0, "Width of a stream; 0 stands for `channels`.")
    n_atten_head: int = option(1, "Attention heads of a stream; 0 = sum weighted by the envelope alone.")
    message_node_so3: bool = option(False, "Multiply the summed message with the node features on an SO(3) grid.")
    random_gamma: bool = option(
        True,
        "Roll the edge frames at random in training. The network does not depend on the roll; under mixed "
        "precision it averages rounding errors, without it there is nothing to average and no roll is drawn.",
    )

    def __post_init__(self) -> None:
        require(self.lmax >= 0, "lmax", self.lmax, "must not be negative")
        if self.mmax is not None and self.l_schedule is None:
            require(0 <= self.mmax <= self.lmax, "mmax", self.mmax, f"must lie between 0 and `lmax` = {self.lmax}")
        require(self.n_blocks >= 1, "n_blocks", self.n_blocks, "must be at least 1")
        degrees = self.l_schedule
        if degrees is not None:
            falling = all(a >= b for a, b in pairwise(degrees))
            require(
                len(degrees) > 0 and falling and min(degrees) >= 0,
                "l_schedule",
                list(degrees),
                "must be a non-empty list of degrees that do not increase",
            )
        if self.m_schedule is not None:
            allowed = len(self.m_schedule) == len(self.degrees) and all(
                0 <= m <= l for m, l in zip(self.m_schedule, self.degrees, strict=False)
            )
            require(
                allowed, "m_schedule", list(self.m_schedule), f"must give one order <= degree for {list(self.degrees)}"
            )
        require(self.mixing_layers >= 0, "mixing_layers", self.mixing_layers, "must not be negative")
        require_one_of("radial_so2_mode", self.radial_so2_mode, ("none", "degree", "degree_channel"))
        require(self.radial_so2_rank >= 0, "radial_so2_rank", self.radial_so2_rank, "must not be negative")
        require(self.n_focus >= 1, "n_focus", self.n_focus, "must be at least 1")
        require(self.focus_dim >= 0, "focus_dim", self.focus_dim, "must not be negative")
        require(self.n_atten_head >= 0, "n_atten_head", self.n_atten_head, "must not be negative")

    @property
    def degrees(self) -> tuple[int, ...]:
        """Degree L of each block."""
        return self.l_schedule if self.l_schedule is not None else (self.lmax,) * self.n_blocks

    @property
    def orders(self) -> tuple[int, ...]:
        """Order M of each block."""
        if self.m_schedule is not None:
            return self.m_schedule
        return tuple(degree if self.mmax is None else min(self.mmax, degree) for degree in self.degrees)


@dataclass(frozen=True, kw_only=True)
class GridConfig:
    """Products of fields on S2 and SO(3) grids (theory 5.4, 5.5)."""

    kmax: int = option(1, "Highest Wigner frame |k| of the SO(3) grids; at most the degree of the block.")
    grid_mlp: bool | tuple[bool, ...] = option(
        False, "Project both operands before the product, for [node-wise, message-node, feed-forward] grids."
    )
    grid_branch: int | tuple[int, ...] = option(
        0, "Number of routed product branches of the same three grids; 0 = none. Takes precedence over `grid_mlp`."
    )
    s2_activation: tuple[bool, ...] = option(
        (False, True), "S2 grid activation in [the SO(2) layers, the feed-forward network]."
    )
    lebedev_quadrature: bool | tuple[bool, ...] = option(
        True, "Lebedev points instead of a product grid for [the SO(2) layers, the feed-forward network]."
    )

    def __post_init__(self) -> None:
        require(self.kmax >= 0, "kmax", self.kmax, "must not be negative")
        for name, length in (("grid_mlp", 3), ("grid_branch", 3), ("lebedev_quadrature", 2), ("s2_activation", 2)):
            value = getattr(self, name)
            if isinstance(value, tuple):
                require(len(value) == length, name, list(value), f"must hold {length} entries")
        require(
            all(self.branches(i) >= 0 for i in range(3)),
            "grid_branch",
            _plain(self.grid_branch),
            "must not be negative",
        )

    def branches(self, path: int) -> int:
        """Return the branches of one path: 0 node-wise, 1 message-node, 2 feed-forward."""
        return self.grid_branch[path] if isinstance(self.grid_branch, tuple) else int(self.grid_branch)

    def operation(self, path: int) -> str:
        """Return the grid operation of one path: ``branch``, ``mlp`` or ``glu``."""
        if self.branches(path) > 0:
            return "branch"
        mlp = self.grid_mlp[path] if isinstance(self.grid_mlp, tuple) else self.grid_mlp
        return "mlp" if mlp else "glu"

    def lebedev(self, path: int) -> bool:
        """Tell whether a path uses the Lebedev rule: 0 the SO(2) layers, 1 the feed-forward network."""
        value = self.lebedev_quadrature
        return value[path] if isinstance(value, tuple) else value


@dataclass(frozen=True, kw_only=True)
class FeedForwardConfig:
    """Feed-forward networks and read-out (theory 5.3, 6.1)."""

    ffn_neurons: int = option(0, "Hidden width; 0 = 8/3 (gated) or 4 times `channels`, rounded up to a multiple of 32.")
    ffn_so3_grid: bool = option(False, "SO(3) grid product as nonlinearity; overrides `s2_activation[1]`.")
    ffn_blocks: int = option(1, "Feed-forward networks per block.")
    glu_activation: bool = option(True, "Gated linear unit where no grid is used.")
    so3_readout: str = option("none", "Fold l > 0 into the descriptor by an SO(3) product: `none`, `glu` or `mlp`.")
    readout_layers: int = option(1, "Number of read-out networks.")

    def __post_init__(self) -> None:
        require(self.ffn_neurons >= 0, "ffn_neurons", self.ffn_neurons, "must not be negative")
        require(self.ffn_blocks >= 1, "ffn_blocks", self.ffn_blocks, "must be at least 1")
        require_one_of("so3_readout", self.so3_readout, ("none", "glu", "mlp"))
        require(self.readout_layers >= 1, "readout_layers", self.readout_layers, "must be at least 1")


@dataclass(frozen=True, kw_only=True)
class CommonConfig:
    """Options that several parts read."""

    edge_norm: bool = option(
        True,
        "Normalise branches that vanish at the cutoff. `false` keeps the energy smooth there to all orders that "
        "the envelope has; `true` trains more easily (see docs/architecture.md).",
    )
    sandwich_norm: tuple[bool, ...] = option(
        (False, True, True, False), "Norms: before and after the message, before and after the feed-forward network."
    )
    mlp_bias: bool = option(False, "Biases on the scalar rows.")
    activation_function: str = option("silu", "Scalar activation.")
    precision: str = option("float32", "Precision of parameters and blocks: `float32` or `float64`.")
    use_amp: bool = option(True, "bfloat16 matrix products of the blocks in training on a CUDA device.")
    trainable: bool = option(True, "Train the descriptor.")
    seed: int | tuple[int, ...] | None = option(None, "Seed of the initial weights.")

    def __post_init__(self) -> None:
        require(len(self.sandwich_norm) == 4, "sandwich_norm", list(self.sandwich_norm), "must hold four booleans")
        require_one_of("activation_function", self.activation_function, ACTIVATIONS)
        require_one_of("precision", self.precision, PRECISIONS)


@dataclass(frozen=True, kw_only=True)
class DescriptorConfig:
    """All options of the descriptor."""

    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    message: MessageConfig = field(default_factory=MessageConfig)
    grid: GridConfig = field(default_factory=GridConfig)
    feed_forward: FeedForwardConfig = field(default_factory=FeedForwardConfig)
    common: CommonConfig = field(default_factory=CommonConfig)

    def __post_init__(self) -> None:
        message = self.message
        width, heads = self.focus_width, message.n_atten_head
        require(
            heads == 0 or width % heads == 0,
            "n_atten_head",
            heads,
            f"must divide the width of a focus stream, {width}",
        )
        if message.message_node_so3 or self.feed_forward.ffn_so3_grid or self.feed_forward.so3_readout != "none":
            lowest = max(message.degrees)
            require(self.grid.kmax <= lowest, "kmax", self.grid.kmax, f"must not exceed the highest degree, {lowest}")

    @property
    def focus_width(self) -> int:
        """Width Cf of one focus stream."""
        return self.message.focus_dim or self.embedding.channels

    def flat(self) -> dict:
        """Return the options as the flat section of an input file, with plain Python types."""
        return {
            item.name: _plain(getattr(group, item.name))
            for group in (getattr(self, part.name) for part in fields(self))
            for item in fields(group)
        }


def basis_family(basis_type: str) -> str:
    """Return the functions of a radial basis, ``bessel`` or ``gaussian``, which do not depend on what is trained."""
    return basis_type.removesuffix(FIXED)


def _is_automatic(sel: str) -> bool:
    """Whether a text says that ``sel`` is measured, times a positive factor if there is one."""
    word, colon, factor = sel.partition(":")
    try:
        return word == "auto" and (not colon or 0 < float(factor) < math.inf)
    except ValueError:
        return False


def _plain(value: object) -> object:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
