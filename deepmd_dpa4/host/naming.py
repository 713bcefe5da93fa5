"""Names under which the classes are registered."""

OFFICIAL_NAMES = ("dpa4", "DPA4")
"""Names taken over from DeePMD-kit."""
NEUTRAL = "emfa"
"""A name of our own: no rule of DeePMD-kit that looks at names applies to it."""
FITTING = "dpa4_ener"
NEUTRAL_FITTING = "emfa_ener"
EDGE_SCHEMA_TYPES = ("dpa4", "sezm")
"""Model types, in lower case, to which DeePMD-kit's Python inference hands edges instead of a neighbour table."""
