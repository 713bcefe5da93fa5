"""Descriptor options of the models under test, as a user writes them in the ``descriptor`` section."""

from typing import Any

Options = dict[str, Any]

MINI: Options = {
    "rcut": 6.0,
    "sel": 120,
    "channels": 32,
    "n_radial": 16,
    "use_env_seed": True,
    "lmax": 2,
    "mmax": 1,
    "n_blocks": 2,
    "mixing_layers": 3,
    "radial_so2_mode": "degree_channel",
    "radial_so2_rank": 1,
    "n_focus": 1,
    "n_atten_head": 1,
    "message_node_so3": True,
    "ffn_so3_grid": True,
    "grid_branch": [0, 0, 1],
    "so3_readout": "mlp",
    "edge_norm": False,
    "ffn_blocks": 1,
    "precision": "float64",
    "use_amp": False,
    "random_gamma": False,
    "seed": 1,
}

# The first generation: grids on S2 only, no product of message and node.
FIRST_GENERATION: Options = {
    "message_node_so3": False,
    "ffn_so3_grid": False,
    "grid_branch": 0,
    "so3_readout": "none",
    "edge_norm": True,
}

NANO = MINI | {"lmax": 1, "radial_so2_mode": "none"}
NEO = MINI | {"lmax": 3, "n_focus": 2, "edge_norm": True}
AIR = MINI | {"channels": 64, "lmax": 3, "n_blocks": 3, "mixing_layers": 4, "edge_norm": True}
PLUS = MINI | {
    "channels": 64,
    "lmax": 4,
    "n_blocks": 4,
    "mixing_layers": 4,
    "radial_so2_rank": 2,
    "edge_norm": True,
}
PRO = PLUS | {"lmax": 5, "n_blocks": 6, "n_focus": 2, "so3_readout": "none"}
S2 = MINI | FIRST_GENERATION | {"lmax": 3, "mixing_layers": 4}
PAPER_AIR = AIR | FIRST_GENERATION
PAPER_PLUS = PLUS | FIRST_GENERATION
PAPER_PRO_401 = PRO | FIRST_GENERATION | {"ffn_blocks": 2}
PAPER_PRO_40 = (
    PRO
    | FIRST_GENERATION
    | {
        "channels": 96,
        "n_blocks": 8,
        "n_focus": 1,
        "radial_so2_mode": "none",
        "sandwich_norm": [True, False, True, False],
        "lebedev_quadrature": False,
    }
)
