"""Thresholds above or below which data are worth a look."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What counts as suspicious in one frame."""

    min_distance: float = 0.5
    """Two atoms closer than this, in Angstrom, are too close; the bond of H2 is 0.74 Angstrom long."""
    max_force: float = 50.0
    """A force component beyond this, in eV/Angstrom, is absurd."""
