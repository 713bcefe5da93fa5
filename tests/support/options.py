"""Descriptor options of the models under test, as a user writes them in the ``descriptor`` section."""

from typing import Any

from deepmd_dpa4.config import BridgingConfig
from deepmd_dpa4.tools.presets import sizes

Options = dict[str, Any]

EXACT: Options = {"sel": 120, "precision": "float64", "use_amp": False, "random_gamma": False, "seed": 1}
"""Without rounding of single precision, and the same weights every time."""


def published(name: str) -> Options:
    return sizes.SIZES[name].descriptor() | EXACT


FIRST_GENERATION: Options = sizes.FIRST_GENERATION | {"edge_norm": True}

MINI = published("mini") | {"edge_norm": False}
NANO = published("nano")
NEO = published("neo")
AIR = published("air")
PLUS = published("plus")
PRO = published("pro")
S2 = MINI | FIRST_GENERATION | {"lmax": 3, "mixing_layers": 4}
PAPER_AIR = published("paper-air")
PAPER_PLUS = published("paper-plus")
PAPER_PRO_401 = published("pro-4.0.1")
PAPER_PRO_40 = published("pro-4.0")

TINY: Options = MINI | {"channels": 4, "n_radial": 4, "lmax": 1, "mixing_layers": 2, "so3_readout": "none"}
"""For what does not depend on the network."""

ONE_BLOCK: Options = {"n_blocks": 1, "mixing_layers": 1, "message_node_so3": False}
"""For what is traced, which takes longer the larger the network."""

CONTACTS = BridgingConfig(bridging_method="zbl", bridging_unit="contact", bridging_end="cutoff")
"""Zone bridging between fractions of the sum of the covalent radii, with a smooth end."""
