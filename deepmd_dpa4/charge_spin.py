"""Charges and spin multiplicities that models conditioned on them have rows for (theory 2.7)."""

import numpy as np

CHARGES = (-100, 99)
MULTIPLICITIES = (1, 99)
"""A row for 0 exists too, which no state of a molecule has."""
NEARLY = 1e-3
"""How far a number may be from an integer to be taken for it."""
ALLOWED = "an integer charge from -100 to 99 and an integer spin multiplicity from 1 to 99"


def first_impossible(states: np.ndarray) -> int | None:
    """Find the first of several states, (n, 2), that is no charge and spin multiplicity; None if there is none."""
    lowest, highest = np.array([CHARGES, MULTIPLICITIES], dtype=float).T
    whole = np.round(states)
    possible = (np.abs(states - whole) <= NEARLY) & (whole >= lowest) & (whole <= highest)
    wrong = np.flatnonzero(~possible.all(axis=1))
    return int(wrong[0]) if len(wrong) else None
