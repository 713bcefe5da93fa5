"""Neighbour search: positions, or the neighbour table of an MD engine, to a :class:`Graph`.

Edges are cut at ``rcut``, never truncated in number, and never end on padding. Where the owner of a ghost is known,
the edge starts at the owner and the ghost is no node.
"""

import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor

from deepmd_dpa4.graph.extent import searchable
from deepmd_dpa4.graph.graph import Ends, Graph

# Two atoms closer than this (Angstrom) are one site counted twice, not a pair.
COINCIDENT = 1e-5


class Scatter(NamedTuple):
    """Atoms that the derivative of each edge goes to, in the caller's numbering."""

    sender: Tensor
    """(E,) int64."""
    receiver: Tensor
    """(E,) int64."""
    n_atoms: int
    """Number of atoms in that numbering."""


def check_geometry(coord: Tensor, box: Tensor | None) -> None:
    """Refuse frames that no neighbour search can handle.

    Raises
    ------
    ValueError
        If a coordinate is not finite or a cell has no volume.
    """
    if not bool(torch.isfinite(coord).all()):
        frame = int((~torch.isfinite(coord)).flatten(1).any(dim=1).nonzero()[0])
        raise ValueError(f"`coord` of frame {frame} is not finite (NaN or infinity)")
    if box is not None:
        volume = torch.linalg.det(box).abs()
        if not bool((volume > 1e-6).all()):
            frame = int((~(volume > 1e-6)).nonzero()[0])
            raise ValueError(f"`box` of frame {frame} has volume {float(volume[frame])} A^3 but must be positive")


def check_types(atype: Tensor, ntypes: int) -> None:
    """Refuse type indices that the model does not know; negative ones mark padding atoms.

    Raises
    ------
    ValueError
        If an index is not below the number of types.
    """
    if atype.numel() > 0:
        largest = int(atype.max())
        if largest >= ntypes:
            raise ValueError(f"an atom has type index {largest} but the model has {ntypes} types")


def check_exchange(tables: dict[str, Tensor], n_ghosts: int) -> None:
    """Refuse communication tables that do not describe the ghosts at hand.

    DeePMD-kit reads LAMMPS' tables as those of ``comm_style brick``, whatever the style is.

    Raises
    ------
    ValueError
        If another number of atoms is received than there are ghosts.
    """
    received = int(tables["recv_num"].sum())
    if received != n_ghosts:
        raise ValueError(
            f"the communication tables bring {received} ghost atoms but there are {n_ghosts}; "
            "in LAMMPS use `comm_style brick`"
        )


def search(
    coord: Tensor, atype: Tensor, box: Tensor | None, rcut: float, ntypes: int, excluded: Tensor | None
) -> Graph:
    """Find all pairs within the cutoff, periodic images included, by the cell lists of vesin.

    Parameters
    ----------
    coord : Tensor
        Positions (frames, atoms, 3) in Angstrom; they may lie outside the cell.
    atype : Tensor
        Types (frames, atoms); negative for padding atoms.
    box : Tensor or None
        Cells (frames, 3, 3), one vector per row; None without periodicity.
    rcut : float
        Cutoff in Angstrom.
    ntypes : int
        Number of types.
    excluded : Tensor or None
        Whether a pair of types does not interact, (ntypes + 1, ntypes + 1) bool.

    Returns
    -------
    Graph
        Its edge vectors are free of history: forces come from them, not from ``coord``.

    Raises
    ------
    ValueError
        As :func:`check_geometry`, :func:`check_types` and :func:`~deepmd_dpa4.graph.extent.searchable`.
    """
    # whoever brings edges of his own needs no library for them
    from vesin_torch import NeighborList

    frames, atoms = atype.shape
    coord = coord.detach().to(torch.float64)
    box = None if box is None else box.detach().to(torch.float64)
    check_geometry(coord, box)
    check_types(atype, ntypes)
    senders, receivers, vectors = [], [], []
    usual = NeighborList(cutoff=rcut, full_list=True, sorted=True)
    for frame in range(frames if atoms > 0 else 0):
        receiver, sender, vector = pairs(coord[frame], None if box is None else box[frame], rcut, usual)
        senders.append(sender + frame * atoms)
        receivers.append(receiver + frame * atoms)
        vectors.append(vector)
    node_type = torch.where(atype < 0, ntypes, atype).flatten()
    none = node_type.new_zeros([0])
    sender = torch.cat(senders) if senders else none
    receiver = torch.cat(receivers) if senders else none
    vector = torch.cat(vectors) if senders else coord.new_zeros([0, 3])
    keep = interacting(vector, node_type[sender], node_type[receiver], rcut, ntypes, excluded)
    if not bool(keep.all()):
        warn_of_coincident(vector, sender, receiver, node_type < ntypes, atoms)
        sender, receiver, vector = sender[keep], receiver[keep], vector[keep]
    frame_of_node = torch.arange(frames, device=atype.device).repeat_interleave(atoms)
    return Graph(node_type, frame_of_node, Ends(sender, receiver, frames * atoms), vector, None)


def warn_of_coincident(vector: Tensor, sender: Tensor, receiver: Tensor, real: Tensor, atoms: int) -> None:
    """Warn of two atoms, (N,) ``real`` ones of frames of ``atoms``, at one place: they do not see each other."""
    doubled = (vector * vector).sum(dim=1) <= COINCIDENT * COINCIDENT
    doubled = doubled & real[sender] & real[receiver]
    if bool(doubled.any()):
        edge = int(doubled.nonzero()[0])
        frame, first = divmod(int(receiver[edge]), atoms)
        warnings.warn(
            f"atoms {first} and {int(sender[edge]) % atoms} of frame {frame}, counted from 0, are at the same place: "
            "they do not interact, so that energy and forces mean nothing; remove one of them",
            stacklevel=2,
        )


def pairs(coord: Tensor, box: Tensor | None, rcut: float, usual: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Find the pairs of one frame, in both directions: receivers, senders, and vectors from one to the other.

    Parameters
    ----------
    coord : Tensor
        Positions (atoms, 3), float64, Angstrom.
    box : Tensor or None
        Cell (3, 3); None without periodicity.
    rcut : float
        Cutoff in Angstrom. Where a frame has to be searched with a larger radius, longer pairs are among those found.
    usual : vesin_torch.NeighborList
        Search within the cutoff, sorted.

    Raises
    ------
    ValueError
        As :func:`~deepmd_dpa4.graph.extent.searchable`.
    """
    points, radius = searchable(coord, box, rcut)
    cell_list = usual if radius == rcut else type(usual)(cutoff=radius, full_list=True, sorted=True)
    cell = coord.new_zeros([3, 3]) if box is None else box
    receiver, sender, vector = cell_list.compute(points, cell, box is not None, "ijD")
    receiver, sender = receiver.to(torch.int64), sender.to(torch.int64)
    if points is not coord:
        # gaps were closed, which rounds
        vector = coord[sender] - coord[receiver]
    return receiver, sender, vector


def sort_edges(edges: Tensor, receiver: Tensor) -> Tensor:
    """Order a selection of edges by receiver, the order that native kernels want.

    Parameters
    ----------
    edges : Tensor
        Indices of edges, (n,).
    receiver : Tensor
        Receiver of every edge, (E,).

    Returns
    -------
    Tensor
        The same indices, (n,).
    """
    of_edge = receiver.index_select(0, edges)
    if bool((of_edge[1:] >= of_edge[:-1]).all()):
        return edges
    return edges.index_select(0, torch.argsort(of_edge, stable=True))


def interacting(
    vector: Tensor,
    sender_type: Tensor,
    receiver_type: Tensor,
    rcut: float,
    ntypes: int,
    excluded: Tensor | None,
    coincident: float = COINCIDENT,
) -> Tensor:
    """Mark the edges (E,) that count: in the cutoff, apart, no padding, types not excluded (theory 2.1, 2.4)."""
    distance2 = (vector * vector).sum(dim=1)
    keep = (distance2 < rcut * rcut) & (distance2 > coincident * coincident)
    keep = keep & (sender_type < ntypes) & (receiver_type < ntypes)
    if excluded is not None:
        keep = keep & ~excluded[sender_type, receiver_type]
    return keep


def from_table(
    coord: Tensor,
    atype: Tensor,
    table: Tensor,
    mapping: Tensor | None,
    exchange: dict[str, Tensor] | None,
    rcut: float,
    ntypes: int,
    excluded: Tensor | None,
    detach: bool = True,
) -> tuple[Graph, Scatter]:
    """Turn the neighbour table of an MD engine into a graph.

    Parameters
    ----------
    coord, atype : Tensor
        Owned and ghost atoms, (frames, nall, 3) in Angstrom and (frames, nall).
    table : Tensor
        Neighbours of the owned atoms, (frames, nloc, width) indices into all atoms, -1 for none; it may reach beyond
        the cutoff.
    mapping : Tensor or None
        Owner of every atom, (frames, nall); used if there are no communication tables, because DeePMD-kit 3.2 hands
        over released memory in its place when LAMMPS gives it both.
    exchange : dict or None
        Communication tables.
    rcut, ntypes, excluded
        As in :func:`search`.
    detach : bool
        Free the edge vectors of history; otherwise they depend on ``coord``.

    Raises
    ------
    ValueError
        If there are ghosts but neither a mapping nor communication tables, or tables that do not describe them.
    """
    frames, nloc, width = table.shape
    nall = coord.shape[1]
    check_types(atype, ntypes)
    node_type = torch.where(atype < 0, torch.full_like(atype, ntypes), atype)
    offset = torch.arange(frames, device=table.device)[:, None, None] * nall
    present = (table >= 0).flatten()
    sender = (table + offset).flatten()[present]
    receiver = torch.arange(nloc, device=table.device)[None, :, None] + offset
    receiver = receiver.expand(frames, nloc, width).flatten()[present]
    position, types = coord.reshape(-1, 3), node_type.flatten()
    vector = position.index_select(0, sender) - position.index_select(0, receiver)
    vector = (vector.detach() if detach else vector).to(torch.float64)
    keep = interacting(vector, types.index_select(0, sender), types.index_select(0, receiver), rcut, ntypes, excluded)
    sender, receiver, vector = sender[keep], receiver[keep], vector[keep]
    scatter = Scatter(sender, receiver, frames * nall)
    receiver_node = (receiver // nall) * nloc + receiver % nall
    owned_type = node_type[:, :nloc].flatten()
    frame = torch.arange(frames, device=table.device).repeat_interleave(nloc)
    if exchange is not None:
        check_exchange(exchange, nall - nloc)
        frame = torch.zeros_like(types)
        return Graph(types, frame, Ends(sender, receiver_node, nloc), vector, exchange), scatter
    if mapping is not None:
        owner = (mapping[:, :nall] + torch.arange(frames, device=table.device).unsqueeze(1) * nloc).flatten()
        sender = owner.index_select(0, sender)
    elif nall > nloc:
        raise ValueError(
            "there are ghost atoms but neither their owners nor communication tables; "
            "in LAMMPS add `atom_modify map yes` before the box is created"
        )
    return Graph(owned_type, frame, Ends(sender, receiver_node, frames * nloc), vector, None), scatter
