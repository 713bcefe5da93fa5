"""Systems of different sizes, periodic in any of their directions, as one set of edges."""

from collections.abc import Sequence

import torch
from torch import Tensor

from deepmd_dpa4.graph.graph import Ends, Graph
from deepmd_dpa4.graph.neighbors import search


def find_edges(
    coord: Tensor, atype: Tensor, cell: Tensor | None, periodic: Sequence[bool], rcut: float, ntypes: int
) -> Graph:
    """Find all pairs of one system within the cutoff.

    Parameters
    ----------
    coord, atype : Tensor
        Positions (n, 3) in Angstrom and types (n,).
    cell : Tensor or None
        Cell vectors in rows, (3, 3); those of directions that are not periodic do not matter.
    periodic : sequence of bool
        Periodicity along each cell vector.
    rcut : float
        Cutoff in Angstrom.
    ntypes : int
        Number of types.

    Raises
    ------
    ValueError
        As :func:`full_cell` and :func:`~deepmd_dpa4.graph.neighbors.search`.
    """
    box = full_cell(coord, cell, periodic, rcut)
    cells = None if box is None else box.unsqueeze(0)
    return search(coord.unsqueeze(0), atype.unsqueeze(0), cells, rcut, ntypes, None)


def full_cell(coord: Tensor, cell: Tensor | None, periodic: Sequence[bool], rcut: float) -> Tensor | None:
    """Extend a cell to one, periodic in all directions, in which the same atoms interact.

    Each direction without periodicity becomes one at right angles to all others and so long that no atom is within
    the cutoff of an image along it.

    Parameters
    ----------
    coord : Tensor
        Positions, (n, 3).
    cell, periodic, rcut
        As in :func:`find_edges`.

    Returns
    -------
    Tensor or None
        (3, 3) float64; None if no direction is periodic.

    Raises
    ------
    ValueError
        If a cell vector of a periodic direction is missing, zero or parallel to another one.
    """
    kept = [axis for axis in range(3) if periodic[axis]]
    if not kept:
        return None
    if cell is None:
        raise ValueError(f"`pbc` is {_flags(periodic)} but there is no cell")
    cell = cell.detach().to(torch.float64)
    if len(kept) == 3:
        return cell
    _, lengths, directions = torch.linalg.svd(cell[kept])
    if not bool(lengths[-1] > 1e-6):
        raise ValueError(
            f"`pbc` is {_flags(periodic)} but the cell vectors of the periodic directions, {cell[kept].tolist()}, "
            "must be neither zero nor parallel"
        )
    full = cell.clone()
    for axis, normal in zip((axis for axis in range(3) if axis not in kept), directions[len(kept) :]):
        height = coord.detach().to(torch.float64) @ normal
        extent = height.max() - height.min() if len(height) > 0 else 0.0
        full[axis] = normal * (extent + 2.0 * rcut)
    return full


def join(systems: Sequence[Graph]) -> Graph:
    """Put systems one after the other, atoms and edges renumbered; the frame of an atom is its system."""
    sizes = torch.tensor([len(system.node_type) for system in systems])
    starts = (torch.cumsum(sizes, 0) - sizes).tolist()
    node_type = torch.cat([system.node_type for system in systems])
    frame = torch.arange(len(systems)).repeat_interleave(sizes).to(node_type.device)
    sender = torch.cat([system.ends.sender + start for system, start in zip(systems, starts)])
    receiver = torch.cat([system.ends.receiver + start for system, start in zip(systems, starts)])
    vector = torch.cat([system.vector for system in systems])
    return Graph(node_type, frame, Ends(sender, receiver, len(node_type)), vector, None)


def _flags(periodic: Sequence[bool]) -> str:
    return str(tuple(bool(flag) for flag in periodic))
