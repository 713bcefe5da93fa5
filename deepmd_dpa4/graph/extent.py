"""Frames that are too wide for the cell lists of vesin, which divide by zero there and end the process."""

import math

import torch
from torch import Tensor

MOST_CELLS = 1e5
"""Cells that vesin divides a frame into; where there would be more it takes larger ones of the same proportions."""
MOST_COUNT = 1e9
"""Radii in one direction beyond which products of them are not tried."""
MARGIN = 1.01
"""For rounding: vesin computes the same proportions in another order."""
STEP = 1.2
"""Factor between the search radii that are tried."""
LARGEST = 16.0
"""Multiple of the cutoff up to which pairs are searched; beyond, there would be too many of them."""


def searchable(coord: Tensor, box: Tensor | None, rcut: float) -> tuple[Tensor, float]:
    """Give positions and a search radius with which vesin finds all pairs of a frame.

    They are the given ones unless one direction of the frame is far shorter than the others, as with an atom that has
    flown 1e5 Angstrom away, or in a sheet of some 1000 Angstrom without thickness. Then empty gaps of open frames are
    closed, and what is still too wide is searched with a larger radius.

    Parameters
    ----------
    coord : Tensor
        Positions (n, 3), float64.
    box : Tensor or None
        Cell (3, 3); None without periodicity.
    rcut : float
        Cutoff in Angstrom.

    Raises
    ------
    ValueError
        If that radius would be many times the cutoff.
    """
    lengths = lengths_of(coord, box)
    if is_divisible(lengths, rcut):
        return coord, rcut
    if box is None:
        coord = close_gaps(coord, rcut)
        lengths = lengths_of(coord, None)
    radius = rcut
    while not is_divisible(lengths, radius):
        radius *= STEP
        if radius > LARGEST * rcut:
            raise ValueError(f"{_size(lengths)} are too wide for a search of pairs within {rcut:g} A")
    return coord, radius


def check_extent(coord: Tensor, box: Tensor | None, rcut: float) -> None:
    """Refuse frames at which a neighbour search by somebody else ends the process.

    Parameters
    ----------
    coord : Tensor
        Positions (frames, n, 3).
    box : Tensor or None
        Cells (frames, 3, 3); None without periodicity.
    rcut : float
        Cutoff in Angstrom.

    Raises
    ------
    ValueError
        If a frame is too wide.
    """
    for frame in range(len(coord)):
        lengths = lengths_of(coord[frame], None if box is None else box[frame])
        if not is_divisible(lengths, rcut):
            raise ValueError(
                f"frame {frame} is too wide for DeePMD-kit's search of pairs within {rcut:g} A: {_size(lengths)}; "
                "an atom may have left the others, and a checkpoint of deepmd-dpa4 has no such limit"
            )


def lengths_of(coord: Tensor, box: Tensor | None) -> list[float]:
    """Measure a frame along x, y, z, or between opposite faces of its cell."""
    if box is not None:
        return [1.0 / size for size in torch.linalg.inv(box).norm(dim=0).tolist()]
    if len(coord) == 0:
        return [0.0, 0.0, 0.0]
    sizes: list[float] = (coord.max(dim=0).values - coord.min(dim=0).values).tolist()
    return sizes


def is_divisible(lengths: list[float], radius: float) -> bool:
    """Tell whether vesin finds a cell at least in every direction, by its own rule."""
    counts = [length / radius for length in lengths]
    if not max(counts) < MOST_COUNT:
        return False
    x, y, z = (max(1.0, float(math.trunc(count))) for count in counts)
    if x * y * z <= MOST_CELLS:
        return True
    along_z = math.trunc((MOST_CELLS * y / x) ** (1 / 3) * (z / y) ** (2 / 3) / MARGIN)
    along_y = math.trunc(y / z * along_z / MARGIN)
    return along_z >= 1 and along_y >= 1 and math.trunc(x / y * along_y / MARGIN) >= 1


def close_gaps(coord: Tensor, rcut: float) -> Tensor:
    """Move atoms of an open frame together along each axis where nothing is in between.

    Pairs within the cutoff stay as they are, since no gap between them is longer than it; all others stay farther
    apart. So an atom that has left for good costs nothing.

    Parameters
    ----------
    coord : Tensor
        Positions (n, 3).
    rcut : float
        Cutoff in Angstrom.
    """
    ordered, order = coord.sort(dim=0)
    steps = ordered.diff(dim=0).clamp(max=2.0 * rcut)
    # from zero on: beside an atom far away the others would lose their digits
    closed = torch.cat([torch.zeros_like(ordered[:1]), steps.cumsum(dim=0)])
    return torch.empty_like(coord).scatter_(0, order, closed)


def _size(lengths: list[float]) -> str:
    return " x ".join(f"{length:.3g}" for length in lengths) + " A"
