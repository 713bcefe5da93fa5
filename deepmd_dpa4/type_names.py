"""Names of types in inputs and checkpoints, under which the classes are registered."""

from typing import Any

SHARED_NAMES = ("dpa4", "DPA4")
"""Names taken over from DeePMD-kit."""
NEUTRAL = "emfa"
"""A name of our own: no rule of DeePMD-kit that looks at names applies to it."""
BUILTIN = "sezm"
"""The name that the built-in DPA4 keeps to itself."""
FITTING, BUILTIN_FITTING, NEUTRAL_FITTING = "dpa4_ener", "sezm_ener", "emfa_ener"
"""Fitting nets of the three."""
MODEL_NAMES = DESCRIPTOR_NAMES = (SHARED_NAMES[0], BUILTIN, NEUTRAL)
"""All names of DPA4, in lower case."""
FITTING_NAMES = (FITTING, BUILTIN_FITTING, NEUTRAL_FITTING)
"""All names of its fitting net."""
EDGE_SCHEMA_TYPES = (SHARED_NAMES[0], BUILTIN)
"""Model types, in lower case, to which DeePMD-kit's Python inference hands edges instead of a neighbour table."""


def mentions_ours(section: Any) -> bool:
    """Tell whether a ``model`` section, or a model or descriptor inside it, is of one of our types."""
    if isinstance(section, dict):
        return section.get("type") in (*SHARED_NAMES, NEUTRAL) or any(map(mentions_ours, section.values()))
    return isinstance(section, list) and any(map(mentions_ours, section))
