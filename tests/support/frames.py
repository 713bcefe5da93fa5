"""Small systems that the tests share; types 0 and 1 are O and H."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

TYPE_MAP = ["O", "H"]


@dataclass(frozen=True)
class Frame:
    """One frame: positions (n, 3) and cell rows (3, 3) in Angstrom, types (n,)."""

    coord: Tensor
    types: Tensor
    cell: Tensor | None = None

    def moved(self, coord: Tensor) -> "Frame":
        return replace(self, coord=coord)


def frame(coord: list[list[float]], types: list[int], cell: list[list[float]] | None = None) -> Frame:
    box = None if cell is None else torch.tensor(cell, dtype=torch.float64)
    return Frame(torch.tensor(coord, dtype=torch.float64), torch.tensor(types), box)


def golden_frame() -> Frame:
    """The frame of the golden values: two distorted water-like molecules in a triclinic cell."""
    return frame(
        [[0.1, 0.2, 0.3], [1.0, 0.35, 0.1], [-0.2, 1.1, 0.45], [3.1, 3.0, 2.9], [3.9, 3.4, 2.6], [2.7, 3.8, 3.2]],
        [0, 1, 1, 0, 1, 1],
        [[6.2, 0.0, 0.0], [0.4, 6.0, 0.0], [-0.3, 0.5, 5.8]],
    )


def triclinic_frame() -> Frame:
    """Twelve atoms on a perturbed lattice in a skewed cell."""
    cell = torch.tensor([[7.5, 0.0, 0.0], [1.5, 7.0, 0.0], [-1.0, 0.7, 6.8]], dtype=torch.float64)
    lattice = torch.cartesian_prod(torch.arange(2), torch.arange(2), torch.arange(3)).double()
    lattice = lattice / torch.tensor([2.0, 2.0, 3.0], dtype=torch.float64)
    noise = torch.randn(12, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return Frame((lattice + 0.04 * noise) @ cell, torch.tensor([0, 1, 1, 0, 1, 0] * 2), cell)


def tiny_cell_frame() -> Frame:
    """Two atoms in a cell smaller than half the cutoff: most edges are images, some of the atom itself."""
    return frame([[0.1, 0.2, 0.3], [1.3, 1.2, 1.1]], [0, 1], [[2.6, 0.0, 0.0], [0.5, 2.7, 0.0], [-0.4, 0.3, 2.9]])


def isolated_frame() -> Frame:
    """A molecule and one atom beyond every cutoff, without periodicity."""
    return frame([[0.0, 0.0, 0.0], [0.9, 0.3, 0.1], [-0.3, 0.9, -0.2], [40.0, 0.0, 0.0]], [0, 1, 1, 0])


def axis_frame() -> Frame:
    """Edges exactly along +z and -z, the poles of the edge frame, and along the other axes."""
    return frame([[0, 0, 0], [0, 0, 1.1], [0, 0, -1.3], [1.2, 0, 0], [0, -1.4, 0]], [0, 1, 1, 1, 0])


def close_pair_frame() -> Frame:
    """For zone bridging with radii 0.8 and 1.1: one pair is frozen, one lies in the bridge, others are free."""
    return frame([[0, 0, 0], [0.6, 0.2, 0.1], [-0.3, 0.9, 0.2], [2.0, 1.0, -0.5], [1.5, 2.1, 0.4]], [0, 1, 1, 0, 1])


def cluster_frame() -> Frame:
    """Seven atoms without symmetry or periodicity."""
    coord = [
        [0.00, 0.00, 0.00],
        [0.93, 0.24, 0.10],
        [-0.31, 0.90, -0.21],
        [1.90, 1.70, 0.40],
        [2.60, 1.10, -0.20],
        [-1.10, -1.40, 1.20],
        [0.60, -1.60, -1.30],
    ]
    return frame(coord, [0, 1, 1, 0, 1, 0, 1])
