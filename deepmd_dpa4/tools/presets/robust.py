"""Options against spikes and holes where no data are, for ``dpa4 init --robust``."""

from typing import Any

ROBUST: dict[str, dict[str, Any]] = {
    "model": {},
    "descriptor": {"basis_type": "bessel/fix", "env_exp": 5},
}
"""By section of an input. With a fixed basis AdamW updates the matrices that read it (theory 8)."""
COMMENT = "robust: fixed radial basis, a single envelope"
"""What these options are, for the input."""


def robust(section: str, wanted: bool) -> dict[str, Any]:
    """Return the options of a section, none if they are not wanted."""
    return dict(ROBUST[section]) if wanted else {}
