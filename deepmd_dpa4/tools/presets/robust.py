"""Options against spikes and holes where no data are, for ``dpa4 init --robust``."""

import math
from typing import Any

from deepmd_dpa4.config.elements import COVALENT_RADII

DESCRIPTOR: dict[str, Any] = {"basis_type": "bessel/fix", "env_exp": 5}
"""Options of the descriptor. With a fixed basis AdamW updates the matrices that read it (theory 8)."""
BRIDGING: dict[str, Any] = {"bridging_method": "zbl", "bridging_unit": "contact", "bridging_end": "window"}
"""Options of the model, beside the window."""
OUTER, LEAST_OUTER = 0.75, 0.5
"""Where the window of bridging ends, in sums of covalent radii, and the least end at which one is worth having."""


def comment(window: dict[str, Any]) -> str:
    """Name these options for the input; ``window`` is what :func:`bridging` chose."""
    return "robust: fixed radial basis, a single envelope" + (", ZBL repulsion at short distance" if window else "")


def bridging(type_map: tuple[str, ...], closest: float = math.inf) -> dict[str, Any]:
    """Choose the window of zone bridging: up to 0.75 sums of covalent radii, or just below the closest pair of data.

    Parameters
    ----------
    type_map : tuple of str
        Names of the types.
    closest : float
        Shortest distance in the data, in sums of covalent radii.

    Returns
    -------
    dict
        Options of the model; empty if a type has no covalent radius, or the data leave no room for a window.
    """
    outer = min(OUTER, math.floor(99 * closest) / 100) if math.isfinite(closest) else OUTER
    if outer < LEAST_OUTER or any(name not in COVALENT_RADII for name in type_map):
        return {}
    return {**BRIDGING, "bridging_r_inner": round(2 * outer / 3, 2), "bridging_r_outer": outer}
