"""Descriptor, fitting network, bias per type and short-range repulsion to energy, forces and virial."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from deepmd_dpa4.descriptor.network import Network
from deepmd_dpa4.fitting.energy import EnergyFitting
from deepmd_dpa4.graph.edges import Graph
from deepmd_dpa4.graph.neighbors import Scatter
from deepmd_dpa4.model.derivatives import edge_gradient, edge_virial, frame_virial
from deepmd_dpa4.model.memory import enough_memory
from deepmd_dpa4.model.sweep import TILE_EDGES, SweepMethods, with_vector
from deepmd_dpa4.model.zbl import ZBL
from deepmd_dpa4.ops.segment import segment_sum


class PotentialMethods(SweepMethods):
    """Evaluation shared by :class:`Potential` and the model that DeePMD-kit holds.

    The class it is mixed into provides ``descriptor``, ``fitting_net``, ``zbl``, ``out_bias`` (1, ntypes, 1) and
    ``counted`` (ntypes + 1,), which is 1 for types whose atoms carry energy.
    """

    # TorchScript reads the annotations of a class, so these exist for the type checker alone.
    if TYPE_CHECKING:
        compiled: Callable[..., Tensor | None] | None
        fitting_net: EnergyFitting
        zbl: ZBL | None
        training: bool
        out_bias: Tensor
        counted: Tensor
    else:
        # evaluates energies by compiled code: deepmd_dpa4.compiled.energies.CompiledEnergies
        compiled = None

    def atomic_energies(
        self, graph: Graph, fparam: Tensor | None, aparam: Tensor | None, charge_spin: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Energies of the owned atoms, (N,) float64 in eV, their features (N, C), the last hidden features (N, W).

        Parameters
        ----------
        graph : Graph
            Nodes and edges.
        fparam : Tensor, optional
            Frame parameters, (frames, numb_fparam).
        aparam : Tensor, optional
            Atomic parameters, (N, numb_aparam).
        charge_spin : Tensor, optional
            Charge and spin multiplicity, (frames, 2).
        """
        node_type = graph.node_type[: graph.n_owned]
        features = self.descriptor.features(graph, charge_spin)
        energy, hidden = self.energies(features, node_type, self.of_atoms(fparam, graph), aparam)
        if self.zbl is not None:
            energy = energy + self.repulsion(graph)
        return energy, features, hidden

    def repulsion(self, graph: Graph) -> Tensor:
        """Energies of the repulsion of nuclei of the owned atoms that count, (N,)."""
        assert self.zbl is not None
        return self.zbl(graph, graph.n_owned) * self.counted.index_select(0, graph.node_type[: graph.n_owned])

    def compiled_energies(
        self, graph: Graph, fparam: Tensor | None, aparam: Tensor | None, charge_spin: Tensor | None
    ) -> Tensor | None:
        """Energies of the owned atoms by compiled code, or None if there is none for this graph."""
        if torch.jit.is_scripting():
            return None
        else:
            return None if self.compiled is None else self.compiled(self, graph, fparam, aparam, charge_spin)

    def energies(
        self, features: Tensor, node_type: Tensor, fparam: Tensor | None, aparam: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Energies of atoms from their features (N, C), types and conditions (N, .), and the last hidden features."""
        energy, hidden = self.fitting_net.evaluate(features, fparam, aparam)
        ntypes = self.out_bias.shape[1]
        energy = energy + self.out_bias[0, :, 0].index_select(0, node_type.clamp(max=ntypes - 1))
        return energy * self.counted.index_select(0, node_type), hidden

    def of_atoms(self, fparam: Tensor | None, graph: Graph) -> Tensor | None:
        """Frame parameters of the frame of each owned atom."""
        return None if fparam is None else fparam.index_select(0, graph.frame[: graph.n_owned])

    def derive(
        self,
        graph: Graph,
        scatter: Scatter,
        frames: int,
        fparam: Tensor | None,
        aparam: Tensor | None,
        charge_spin: Tensor | None,
        training: bool,
        atomic_virial: bool = False,
        sweep: bool = True,
        tile_edges: int = TILE_EDGES,
    ) -> dict[str, Tensor]:
        """Energy and its derivatives.

        Parameters
        ----------
        graph, fparam, aparam, charge_spin
            As in :meth:`atomic_energies`.
        scatter : Scatter
            Atoms that receive the derivative of each edge.
        frames : int
            Number of frames.
        training : bool
            Keep the graph of the gradient, so that a loss of the forces can be differentiated.
        atomic_virial : bool
            Return the virial of each atom too.
        sweep : bool
            Evaluate systems of more than ``tile_edges`` edges in tiles, except in training and by compiled code.
        tile_edges : int
            Edges of a tile.

        Returns
        -------
        dict[str, Tensor]
            ``atom_energy`` (frames, nloc, 1), ``energy`` (frames, 1), ``force`` (frames, atoms, 3), ``virial``
            (frames, 9) and on request ``atom_virial`` (frames, atoms, 9); eV and Angstrom, float64. Half of the
            virial of an edge goes to each end.
        """
        energy, gradient, vector = self.differentiate(graph, fparam, aparam, charge_spin, training, sweep, tile_edges)
        pairs = self.descriptor.pairs
        force = pairs.scatter(gradient, scatter.receiver, scatter.sender, scatter.n_atoms, -1.0)
        atom_energy = energy.view(frames, graph.n_owned // frames, 1)
        result = {"atom_energy": atom_energy, "energy": atom_energy.sum(dim=1)}
        result["force"] = force.view(frames, scatter.n_atoms // frames, 3)
        if atomic_virial:
            half = 0.5 * edge_virial(gradient, vector)
            of_atoms = pairs.scatter(half, scatter.receiver, scatter.sender, scatter.n_atoms, 1.0)
            result["atom_virial"] = of_atoms.view(frames, scatter.n_atoms // frames, 9)
            result["virial"] = result["atom_virial"].sum(dim=1)
        else:
            frame_of_edge = graph.frame.index_select(0, graph.receiver)
            result["virial"] = frame_virial(gradient, vector, frame_of_edge, frames)
        return result

    def derive_systems(
        self,
        graph: Graph,
        systems: int,
        fparam: Tensor | None,
        aparam: Tensor | None,
        charge_spin: Tensor | None,
        atomic_virial: bool,
    ) -> dict[str, Tensor]:
        """Energy and its derivatives of systems of different sizes.

        Parameters
        ----------
        graph, fparam, aparam, charge_spin
            As in :meth:`atomic_energies`; the frame of a node is its system.
        systems : int
            Number of systems.
        atomic_virial : bool
            Return the virial of each atom too.

        Returns
        -------
        dict[str, Tensor]
            ``energy`` (systems,), ``virial`` (systems, 9), ``atom_energy`` (N,), ``force`` (N, 3) and on request
            ``atom_virial`` (N, 9); eV and Angstrom, float64.
        """
        energy, gradient, vector = self.differentiate(graph, fparam, aparam, charge_spin, False, True)
        pairs = self.descriptor.pairs
        frame = graph.frame[: graph.n_owned]
        result = {"atom_energy": energy, "energy": segment_sum(energy, frame, systems)}
        result["force"] = pairs.scatter(gradient, graph.receiver, graph.sender, graph.n_owned, -1.0)
        result["virial"] = frame_virial(gradient, vector, frame.index_select(0, graph.receiver), systems)
        if atomic_virial:
            half = 0.5 * edge_virial(gradient, vector)
            result["atom_virial"] = pairs.scatter(half, graph.receiver, graph.sender, graph.n_owned, 1.0)
        return result

    def differentiate(
        self,
        graph: Graph,
        fparam: Tensor | None,
        aparam: Tensor | None,
        charge_spin: Tensor | None,
        training: bool,
        sweep: bool,
        tile_edges: int = TILE_EDGES,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Energies of the owned atoms (N,), the gradient of their sum by the edge vectors, and these, (E, 3) each.

        Without ``training`` all three are free of history.

        Raises
        ------
        MemoryError, RuntimeError
            As :func:`deepmd_dpa4.model.memory.enough_memory`; in a TorchScript file that of the allocator.
        """
        if torch.jit.is_scripting():
            return self.evaluate(graph, fparam, aparam, charge_spin, training, sweep, tile_edges)
        return self.evaluate_or_explain(graph, fparam, aparam, charge_spin, training, sweep, tile_edges)

    @torch.jit.unused
    def evaluate_or_explain(
        self,
        graph: Graph,
        fparam: Tensor | None,
        aparam: Tensor | None,
        charge_spin: Tensor | None,
        training: bool,
        sweep: bool,
        tile_edges: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """:meth:`evaluate`, with errors that tell what memory is needed; TorchScript cannot catch exceptions."""
        swept = sweep and not training and graph.receiver.shape[0] > tile_edges
        with enough_memory(self.descriptor, graph, swept):
            return self.evaluate(graph, fparam, aparam, charge_spin, training, sweep, tile_edges)

    def evaluate(
        self,
        graph: Graph,
        fparam: Tensor | None,
        aparam: Tensor | None,
        charge_spin: Tensor | None,
        training: bool,
        sweep: bool,
        tile_edges: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As :meth:`differentiate`, in tiles if there are more edges than ``tile_edges`` and ``sweep`` allows it."""
        vector = graph.vector.detach().requires_grad_(True)
        compiled = self.compiled_energies(with_vector(graph, vector), fparam, aparam, charge_spin)
        if compiled is None and not training and sweep and graph.receiver.shape[0] > tile_edges:
            energy, gradient = self.sweep(graph, self.of_atoms(fparam, graph), aparam, charge_spin, tile_edges)
            vector = graph.vector.detach()
            if self.zbl is not None:
                leaf = vector.clone().requires_grad_(True)
                repulsion = self.repulsion(with_vector(graph, leaf))
                gradient = gradient + edge_gradient(repulsion, leaf, False)
                energy = energy + repulsion.detach()
            return energy, gradient, vector
        if compiled is None:
            energy, _, _ = self.atomic_energies(with_vector(graph, vector), fparam, aparam, charge_spin)
        else:
            energy = compiled
        gradient = edge_gradient(energy, vector, training)
        if training:
            return energy, gradient, vector
        return energy.detach(), gradient, vector.detach()


class Potential(PotentialMethods, nn.Module):
    """DPA4 without DeePMD-kit around it.

    Parameters
    ----------
    descriptor, fitting_net
        The networks.
    zbl : ZBL, optional
        Short-range repulsion.
    ntypes : int
        Number of atom types.
    excluded_types : list[int], optional
        Types whose atoms carry no energy.
    """

    def __init__(
        self,
        descriptor: Network,
        fitting_net: EnergyFitting,
        zbl: ZBL | None,
        ntypes: int,
        excluded_types: list[int] | None = None,
    ) -> None:
        super().__init__()
        self.descriptor, self.fitting_net, self.zbl = descriptor, fitting_net, zbl
        self.register_buffer("out_bias", torch.zeros([1, ntypes, 1], dtype=torch.float64))
        self.register_buffer("counted", counted_types(ntypes, excluded_types or []), persistent=False)

    def forward(
        self,
        graph: Graph,
        frames: int,
        fparam: Tensor | None = None,
        aparam: Tensor | None = None,
        charge_spin: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """As :meth:`PotentialMethods.derive`, derivatives going to the nodes of the graph."""
        scatter = Scatter(graph.sender, graph.receiver, graph.n_owned)
        return self.derive(graph, scatter, frames, fparam, aparam, charge_spin, self.training)


def counted_types(ntypes: int, excluded_types: list[int]) -> Tensor:
    """1 for every type that carries energy, 0 for excluded types and for padding, (ntypes + 1,)."""
    counted = torch.ones(ntypes + 1, dtype=torch.float64)
    counted[[*excluded_types, ntypes]] = 0.0
    return counted
