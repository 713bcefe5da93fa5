"""Neighbour statistics of training data, by cell lists."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from vesin_torch import NeighborList


def frames(data: Any) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """Positions (atoms, 3), types (atoms,) and cell (3, 3) or None of every frame of a DeePMD-kit data system."""
    for system in data.data_systems:
        for directory in system.dirs:
            arrays = system._load_set(directory)
            coord = np.asarray(arrays["coord"], dtype=np.float64)
            coord = coord.reshape(coord.shape[0], -1, 3)
            types = np.asarray(arrays["type"]).reshape(coord.shape[0], -1)
            boxes = np.asarray(arrays["box"], dtype=np.float64).reshape(-1, 3, 3) if system.pbc else None
            for index in range(coord.shape[0]):
                yield coord[index], types[index], None if boxes is None else boxes[index]


def measure_neighbors(data: Any, rcut: float) -> tuple[float, int]:
    """Smallest distance (Angstrom) and largest number of neighbours within ``rcut`` over all frames."""
    smallest, largest = float("inf"), 0
    cell_list = NeighborList(cutoff=rcut, full_list=True)
    for coord, types, box in frames(data):
        real = types >= 0
        points = torch.from_numpy(coord[real])
        if len(points) == 0:
            continue
        cell = torch.zeros(3, 3, dtype=torch.float64) if box is None else torch.from_numpy(box)
        first, distance = cell_list.compute(points, cell, box is not None, "id")
        if len(first) > 0:
            smallest = min(smallest, float(distance.min()))
            largest = max(largest, int(torch.bincount(first.to(torch.int64)).max()))
    return smallest, largest
