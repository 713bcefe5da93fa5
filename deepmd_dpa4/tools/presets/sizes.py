"""The published networks (theory 9.3)."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deepmd_dpa4.config.elements import ELEMENTS

FITTING = {"neuron": [0]}
"""Options of the fitting net of all sizes."""

_COMMON = {
    "rcut": 6.0,
    "channels": 64,
    "n_radial": 16,
    "use_env_seed": True,
    "lmax": 3,
    "mmax": 1,
    "n_blocks": 3,
    "mixing_layers": 4,
    "radial_so2_mode": "degree_channel",
    "radial_so2_rank": 1,
    "n_focus": 1,
    "n_atten_head": 1,
    "ffn_blocks": 1,
    "edge_norm": True,
}
FIRST_GENERATION = {
    "message_node_so3": False,
    "ffn_so3_grid": False,
    "s2_activation": [False, True],
    "grid_branch": 0,
    "so3_readout": "none",
}
"""Grids of the networks of the paper: on S2 only, and no product of message and node."""
_PAPER = _COMMON | FIRST_GENERATION
_RELEASED = _COMMON | {
    "message_node_so3": True,
    "ffn_so3_grid": True,
    "grid_branch": [0, 0, 1],
    "so3_readout": "mlp",
}


@dataclass(frozen=True)
class Size:
    """One published network.

    ``options`` are those of the ``descriptor`` section, ``all_elements`` is the number of trainable parameters with a
    type map of all 118 elements, ``start_lr`` the learning rate after the warm-up.
    """

    title: str
    options: Mapping[str, Any]
    all_elements: int
    start_lr: float

    def descriptor(self) -> dict[str, Any]:
        """Return a ``descriptor`` section of its own."""
        return copy.deepcopy(dict(self.options))

    def parameters(self, types: int, branches: int = 1) -> int:
        """Count the trainable parameters of descriptor and fitting net.

        A type has a row of C in one table and of C/4 in another. Several branches that share all weights are told apart
        by FiLM (theory 6.2), whose number is added.
        """
        channels = self.options["channels"]
        rows = (channels + channels // 4) * (len(ELEMENTS) - types)
        return self.all_elements - rows + (_film(channels, branches) if branches > 1 else 0)


def _film(channels: int, branches: int) -> int:
    code, hidden = _padded(4 * branches), _padded(8 * channels / 3)
    return (branches + 4 * channels) * code + 4 * channels * 2 * (channels + hidden) + 4


def _padded(width: float) -> int:
    return 32 * math.ceil(width / 32)


def _mini(title: str, count: int, **options: Any) -> Size:
    return Size(title, _RELEASED | {"channels": 32, "n_blocks": 2, "mixing_layers": 3, **options}, count, 6.5e-4)


SIZES: dict[str, Size] = {
    "nano": _mini("DPA4-Nano", 480_268, lmax=1, radial_so2_mode="none", edge_norm=False),
    "mini": _mini("DPA4-Mini", 655_084, lmax=2),
    "neo": _mini("DPA4-Neo", 1_124_910, n_focus=2),
    "air": Size("DPA4-Air", _RELEASED, 5_148_101, 4.5e-4),
    "plus": Size("DPA4-Plus", _RELEASED | {"lmax": 4, "n_blocks": 4, "radial_so2_rank": 2}, 8_848_710, 4.5e-4),
    "pro": Size(
        "DPA4-Pro",
        _RELEASED | {"lmax": 5, "n_blocks": 6, "radial_so2_rank": 2, "n_focus": 2, "so3_readout": "none"},
        25_210_702,
        4.3e-4,
    ),
    "paper-air": Size("DPA4-Air of the paper", _PAPER, 2_762_885, 4.5e-4),
    "paper-plus": Size(
        "DPA4-Plus of the paper", _PAPER | {"lmax": 4, "n_blocks": 4, "radial_so2_rank": 2}, 5_447_238, 4.5e-4
    ),
    "pro-4.0": Size(
        "DPA-4.0-Pro",
        _PAPER
        | {
            "channels": 96,
            "lmax": 5,
            "n_blocks": 8,
            "radial_so2_mode": "none",
            "sandwich_norm": [True, False, True, False],
            "lebedev_quadrature": False,
        },
        32_484_354,
        4.3e-4,
    ),
    "pro-4.0.1": Size(
        "DPA-4.0.1-Pro",
        _PAPER | {"lmax": 5, "n_blocks": 6, "radial_so2_rank": 2, "n_focus": 2, "ffn_blocks": 2},
        22_678_990,
        4.3e-4,
    ),
}
"""By the name that ``dpa4 init`` takes."""
