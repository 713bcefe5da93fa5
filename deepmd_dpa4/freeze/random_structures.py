"""Random structures on which a frozen file is compared with its checkpoint, and their tables as LAMMPS makes them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

SPACING, JITTER = 2.2, 0.2
"""Distance of the sites of the grid, Angstrom, and how far atoms lie from them: no two come closer than 1.4."""
SKIN = 1.0
"""How far the table of neighbours reaches beyond the cutoff, Angstrom."""
CHARGE_SPIN = [1.0, 2.0]
"""Charge and spin multiplicity of a radical cation."""


@dataclass(frozen=True)
class RandomStructure:
    """One frame: positions (n, 3) and cell rows (3, 3) in Angstrom or None, types (n,); conditions if there are any."""

    coord: np.ndarray
    types: np.ndarray
    cell: np.ndarray | None
    fparam: np.ndarray | None
    aparam: np.ndarray | None
    charge_spin: np.ndarray | None

    @property
    def name(self) -> str:
        """What it is called in messages."""
        kind = "open" if self.cell is None else "periodic"
        return f"{kind} structure of {len(self.types)} atoms"


@dataclass(frozen=True)
class Table:
    """Owned atoms and their images, (m, 3); owner of each, (m,); neighbours of the owned ones, (n, width), -1: none."""

    coord: np.ndarray
    owner: np.ndarray
    neighbors: np.ndarray


def random_structure(
    atoms: int, types: Sequence[int], periodic: bool, seed: int, conditions: tuple[int, int, int] = (0, 0, 0)
) -> RandomStructure:
    """Place atoms on random sites of a skewed grid, each displaced, of all ``types`` if there are enough atoms.

    ``conditions`` are the numbers of frame parameters, of parameters of each atom, and of charge and spin together.
    """
    rng = np.random.default_rng(seed)
    sites = int(np.ceil(atoms ** (1 / 3)))
    axes = SPACING * np.array([[1.0, 0.0, 0.0], [0.2, 1.0, 0.0], [-0.15, 0.1, 1.0]])
    grid = np.stack(np.meshgrid(*[np.arange(sites)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    chosen = grid[rng.permutation(len(grid))[:atoms]]
    coord = chosen @ axes + rng.uniform(-JITTER, JITTER, (atoms, 3))
    kinds = rng.permutation(np.asarray(types)[np.arange(atoms) % len(types)])
    frame, atom, charged = conditions
    return RandomStructure(
        coord,
        kinds,
        sites * axes if periodic else None,
        rng.uniform(size=frame) if frame else None,
        rng.uniform(size=(atoms, atom)) if atom else None,
        np.array(CHARGE_SPIN) if charged else None,
    )


def displaced(structure: RandomStructure, length: float) -> RandomStructure:
    """Move every atom by ``length``, in Angstrom, in a random direction."""
    step = np.random.default_rng(3).normal(size=structure.coord.shape)
    return replace(structure, coord=structure.coord + length * step / np.linalg.norm(step, axis=1, keepdims=True))


def neighbor_table(structure: RandomStructure, cutoff: float) -> Table:
    """Find all neighbours within ``cutoff``, by distances to all periodic images."""
    coord, atoms = structure.coord, len(structure.types)
    image, owner = coord[:0], np.arange(0)
    if structure.cell is not None:
        heights = 1.0 / np.linalg.norm(np.linalg.inv(structure.cell), axis=0)
        # displaced atoms may lie outside the cell
        reach = np.ceil(cutoff / heights).astype(int) + 1
        cells = np.stack(np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij"), axis=-1).reshape(-1, 3)
        cells = cells[np.any(cells != 0, axis=1)]
        image = (coord[None] + (cells @ structure.cell)[:, None]).reshape(-1, 3)
        owner = np.tile(np.arange(atoms), len(cells))
        near = np.linalg.norm(image[:, None] - coord[None], axis=2).min(axis=1) < cutoff
        image, owner = image[near], owner[near]
    everyone = np.concatenate([coord, image])
    distance = np.linalg.norm(everyone[None] - coord[:, None], axis=2)
    distance[np.arange(atoms), np.arange(atoms)] = np.inf
    rows = [np.flatnonzero(row < cutoff) for row in distance]
    neighbors = np.full((atoms, max(1, *map(len, rows))), -1)
    for row, found in zip(neighbors, rows, strict=True):
        row[: len(found)] = found
    return Table(everyone, np.concatenate([np.arange(atoms), owner]), neighbors)
