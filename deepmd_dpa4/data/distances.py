"""Shortest distances between atoms, periodic images included."""

import numpy as np
from vesin import NeighborList

from deepmd_dpa4.data.frame import Frame


def pairs_within(frame: Frame, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs closer than ``cutoff`` (Angstrom), each once: first atom, second atom, distance."""
    search = NeighborList(cutoff=cutoff, full_list=False)
    periodic = frame.cell is not None
    box = frame.cell if periodic else np.zeros((3, 3))
    first, second, distance = search.compute(frame.positions, box, periodic, quantities="ijd")
    return first, second, distance
