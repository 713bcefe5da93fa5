"""Neighbour statistics of training data, by cell lists, and the report of fitted biases."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from vesin_torch import NeighborList

from deepmd_dpa4.config import ConfigError
from deepmd_dpa4.graph.neighbors import check_geometry, pairs


def frames(data: Any) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray | None]]:
    """Yield folder, positions (atoms, 3), types (atoms,) and cell (3, 3) or None of all frames of a system."""
    for system in data.data_systems:
        for directory in system.dirs:
            arrays = system._load_set(directory)
            coord = np.asarray(arrays["coord"], dtype=np.float64)
            coord = coord.reshape(coord.shape[0], -1, 3)
            types = np.asarray(arrays["type"]).reshape(coord.shape[0], -1)
            boxes = np.asarray(arrays["box"], dtype=np.float64).reshape(-1, 3, 3) if system.pbc else None
            for index in range(coord.shape[0]):
                yield str(directory), coord[index], types[index], None if boxes is None else boxes[index]


def measure_neighbors(data: Any, rcut: float) -> tuple[float, int]:
    """Find the smallest distance (Angstrom) and largest number of neighbours within ``rcut`` over all frames.

    Raises
    ------
    ValueError
        If a frame has coordinates that are not finite, a cell without volume, or is too wide; names the folder.
    """
    smallest, largest = float("inf"), 0
    cell_list = NeighborList(cutoff=rcut, full_list=True, sorted=True)
    for folder, coord, types, box in frames(data):
        real = types >= 0
        points = torch.from_numpy(coord[real])
        if len(points) == 0:
            continue
        cell = None if box is None else torch.from_numpy(box)
        try:
            check_geometry(points[None], None if cell is None else cell[None])
            first, _, vector = pairs(points, cell, rcut, cell_list)
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from error
        distance = vector.norm(dim=1)
        first, distance = first[distance <= rcut], distance[distance <= rcut]
        if len(first) > 0:
            smallest = min(smallest, float(distance.min()))
            largest = max(largest, int(torch.bincount(first).max()))
    return smallest, largest


Preset = dict[str, list[np.ndarray | None]]


def preset_bias(given: Any, type_map: list[str]) -> Preset | None:
    """Read the option ``preset_out_bias``: for each type its energy in eV, or null where it is fitted.

    Raises
    ------
    ConfigError
        If there is something else.
    """
    if given is None:
        return None
    values = given.get("energy") if isinstance(given, dict) else None
    if not isinstance(values, list) or len(given) > 1 or len(values) != len(type_map):
        raise ConfigError(
            f"`preset_out_bias` is {given!r} but must be {{'energy': [...]}} with a number or null for each of the "
            f"types {', '.join(type_map)}"
        )
    try:
        # DeePMD-kit takes [number] too, as for quantities with several components
        return {"energy": [None if value is None else np.array([float(np.squeeze(value))]) for value in values]}
    except (TypeError, ValueError):
        raise ConfigError(f"`preset_out_bias/energy` is {values!r} but must hold numbers and null") from None


def preset_shift(preset: Preset, bias: list[float]) -> Preset:
    """Turn the preset biases into the shifts that lead to them from ``bias``."""
    shifts = (None if value is None else value - old for value, old in zip(preset["energy"], bias, strict=True))
    return {"energy": list(shifts)}


def bias_table(elements: list[str], before: list[float], after: list[float], preset: Preset | None = None) -> str:
    """Tabulate the energy that each element carries by itself before and after a fit, eV per atom, one line each.

    Those that the option ``preset_out_bias`` fixes are marked.
    """
    fixed = [preset is not None and preset["energy"][index] is not None for index in range(len(elements))]
    lines = [f"  {'element':<8} {'before, eV':>14} {'after, eV':>14} {'change, eV':>14}"]
    lines += [
        f"  {element:<8} {old:14.6f} {new:14.6f} {new - old:+14.6f}{'  preset' if set_ else ''}"
        for element, old, new, set_ in zip(elements, before, after, fixed, strict=True)
    ]
    return "\n".join(lines)
