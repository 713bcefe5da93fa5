"""Descriptor, fitting network, bias per type and short-range repulsion to energy, forces and virial."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from deepmd_dpa4.descriptor.network import Network
from deepmd_dpa4.descriptor.stages import Stage, potential_stages
from deepmd_dpa4.fitting.energy import EnergyFitting
from deepmd_dpa4.graph.graph import Graph
from deepmd_dpa4.graph.neighbors import Scatter
from deepmd_dpa4.model.conditions import Conditions
from deepmd_dpa4.model.derivatives import edge_gradient, edge_virial, frame_virial
from deepmd_dpa4.model.isolated import IsolatedMethods
from deepmd_dpa4.model.memory import enough_memory
from deepmd_dpa4.model.tiles import TILE_EDGES
from deepmd_dpa4.model.zbl import ZBL
from deepmd_dpa4.ops.segment import segment_sum


class PotentialMethods(IsolatedMethods):
    """Evaluation shared by :class:`Potential` and the model that DeePMD-kit holds.

    The class it is mixed into provides ``descriptor``, ``fitting_net``, ``zbl``, ``out_bias`` (1, ntypes, 1),
    ``counted`` (ntypes + 1,), which is 1 for types whose atoms carry energy, and what
    :meth:`~deepmd_dpa4.model.isolated.IsolatedMethods.refer_to_isolated_atoms` sets.
    """

    # TorchScript reads the annotations of a class, so these exist for the type checker alone.
    if TYPE_CHECKING:
        compiled: Callable[..., Tensor | None] | None
        zbl: ZBL | None
        training: bool
        counted: Tensor
    else:
        # evaluates energies by compiled code: deepmd_dpa4.compiled.energies.CompiledEnergies
        compiled = None

    def stages(self, vector: Tensor, shared_rotation: bool) -> list[Stage]:
        """List the stages for the device of the edge vectors; see :mod:`deepmd_dpa4.descriptor.stages`."""
        network = self.descriptor.stages(vector, shared_rotation)
        return potential_stages(network, self.zbl is not None, self.evaluates_isolated_atoms())

    def inputs(self, graph: Graph, conditions: Conditions) -> dict[str, Tensor]:
        """Collect the tensors that the first stages read; parameters of frames become parameters of atoms."""
        values = self.descriptor.inputs(graph, conditions.charge_spin)
        fparam, aparam = conditions.fparam, conditions.aparam
        if fparam is not None:
            values["fparam"] = fparam.index_select(0, graph.frame[: graph.ends.n_receivers])
        if aparam is not None:
            values["aparam"] = aparam
        return values

    def run_stage(self, stage: Stage, graph: Graph, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Run one stage; arguments as of :meth:`deepmd_dpa4.descriptor.network.Network.run_stage`."""
        made: dict[str, Tensor] = {}
        if stage.name == "isolated":
            made["isolated"] = self.isolated_features()
        elif stage.name == "energies":
            node_type = graph.node_type[: graph.ends.n_receivers]
            features, fparam, aparam = values["features"], values.get("fparam"), values.get("aparam")
            isolated = values.get("isolated")
            made["energy"], made["last_hidden"] = self.energies(features, node_type, fparam, aparam, isolated)
        elif stage.name == "repulsion":
            made["energy"] = values["energy"] + self.repulsion(graph, values["vector"])
        else:
            made = self.descriptor.run_stage(stage, graph, values)
        return made

    def predict(self, graph: Graph, conditions: Conditions) -> dict[str, Tensor]:
        """Evaluate all stages directly, with history.

        Parameters
        ----------
        graph : Graph
            Nodes and edges.
        conditions : Conditions
            Conditions of frames and atoms.

        Returns
        -------
        dict[str, Tensor]
            What the stages make; of the owned atoms ``energy`` (N,) float64 in eV, ``features`` (N, C), and the last
            hidden features of the fitting network, ``last_hidden`` (N, W).
        """
        values = self.inputs(graph, conditions)
        for stage in self.stages(graph.vector, True):
            values.update(self.run_stage(stage, graph, values))
        return values

    def repulsion(self, graph: Graph, vector: Tensor) -> Tensor:
        """Compute the energies of the repulsion of nuclei of the owned atoms that count, (N,)."""
        assert self.zbl is not None
        counted = self.counted.index_select(0, graph.node_type[: graph.ends.n_receivers])
        return self.zbl(graph.node_type, graph.ends, vector) * counted

    def compiled_energies(self, graph: Graph, conditions: Conditions) -> Tensor | None:
        """Evaluate the energies of the owned atoms by compiled code; None if there is none for this graph."""
        if torch.jit.is_scripting():
            return None
        else:
            return None if self.compiled is None else self.compiled(self, graph, self.inputs(graph, conditions))

    def energies(
        self,
        features: Tensor,
        node_type: Tensor,
        fparam: Tensor | None,
        aparam: Tensor | None,
        isolated: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Compute energies of atoms from features (N, C), types and conditions (N, .), and the last hidden features.

        ``isolated`` (ntypes, C) are the features of the atoms that energies are referred to.
        """
        energy, hidden = self.fitting_net.evaluate(features, fparam, aparam)
        if self.refers_to_isolated_atoms:
            energy = energy - self.isolated_energies(isolated, node_type, fparam, aparam)
        ntypes = self.out_bias.shape[1]
        energy = energy + self.out_bias[0, :, 0].index_select(0, node_type.clamp(max=ntypes - 1))
        return energy * self.counted.index_select(0, node_type), hidden

    def derive(
        self,
        graph: Graph,
        scatter: Scatter,
        frames: int,
        conditions: Conditions,
        training: bool,
        atomic_virial: bool = False,
        tiled: bool = True,
        tile_edges: int = TILE_EDGES,
        last_layer: bool = False,
    ) -> dict[str, Tensor]:
        """Evaluate energy and derivatives of frames, or systems, of any sizes.

        Parameters
        ----------
        graph : Graph
            Nodes and edges.
        scatter : Scatter
            Atoms that receive the derivative of each edge.
        frames : int
            Number of frames.
        conditions : Conditions
            Conditions of frames and atoms.
        training : bool
            Keep the graph of the gradient, so that a loss of the forces can be differentiated.
        atomic_virial : bool
            Return the virial of each atom too.
        tiled : bool
            Evaluate systems of more than ``tile_edges`` edges in tiles, except in training and by compiled code.
        tile_edges : int
            Edges of a tile.
        last_layer : bool
            Return what the last layer of the fitting network is linear in; not by compiled code.

        Returns
        -------
        dict[str, Tensor]
            ``atom_energy`` (N,), ``energy`` (frames,), ``force`` (atoms, 3), ``virial`` (frames, 9) and on request
            ``atom_virial`` (atoms, 9); eV and Angstrom, float64. Half of the virial of an edge goes to each end. On
            request ``last_layer`` (N, W): :meth:`~deepmd_dpa4.fitting.energy.EnergyFitting.last_layer`, zero for atoms
            without energy.

        Raises
        ------
        MemoryError, RuntimeError
            As :func:`deepmd_dpa4.model.memory.enough_memory`; in a TorchScript file that of the allocator.
        """
        tiled = tiled and not training and graph.ends.receiver.shape[0] > tile_edges
        if torch.jit.is_scripting():
            energy, gradient, vector, hidden = self.evaluate(graph, conditions, training, tiled, tile_edges, last_layer)
        else:
            with enough_memory(self.descriptor, graph, tiled):
                energy, gradient, vector, hidden = self.evaluate(
                    graph, conditions, training, tiled, tile_edges, last_layer
                )
        pairs = self.descriptor.pairs
        frame = graph.frame
        result = {"atom_energy": energy, "energy": segment_sum(energy, frame[: graph.ends.n_receivers], frames)}
        result["force"] = pairs.scatter(gradient, scatter.receiver, scatter.sender, scatter.n_atoms, -1.0)
        frame_of_edge = frame.index_select(0, graph.ends.receiver)
        if atomic_virial:
            of_edges = edge_virial(gradient, vector)
            result["virial"] = segment_sum(of_edges, frame_of_edge, frames)
            half = 0.5 * of_edges
            result["atom_virial"] = pairs.scatter(half, scatter.receiver, scatter.sender, scatter.n_atoms, 1.0)
        else:
            result["virial"] = frame_virial(gradient, vector, frame_of_edge, frames)
        if hidden is not None:
            counted = self.counted.index_select(0, graph.node_type[: graph.ends.n_receivers])
            result["last_layer"] = self.fitting_net.last_layer(hidden.detach()) * counted.unsqueeze(1)
        return result

    def evaluate(
        self,
        graph: Graph,
        conditions: Conditions,
        training: bool,
        tiled: bool,
        tile_edges: int = TILE_EDGES,
        last_hidden: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Evaluate energies of the owned atoms (N,), the gradient of their sum by the edge vectors, and these (E, 3).

        By compiled code if the model has some for this graph, else in tiles or directly. Without ``training`` all
        three are free of history. The fourth result are the last hidden features (N, W), if they are asked for.
        """
        vector = graph.vector.detach().requires_grad_(True)
        leaf = Graph(graph.node_type, graph.frame, self.descriptor.ordered_ends(graph), vector, graph.exchange)
        energy: Tensor | None = None
        hidden: Tensor | None = None
        if not last_hidden:
            energy = self.compiled_energies(leaf, conditions)
        if energy is None and tiled:
            energy, gradient, hidden = self.run_tiled(
                graph, self.inputs(graph, conditions), tile_edges, hidden=last_hidden
            )
            return energy, gradient, graph.vector.detach(), hidden
        if energy is None:
            values = self.predict(leaf, conditions)
            energy = values["energy"]
            if last_hidden:
                hidden = values["last_hidden"]
        gradient = edge_gradient(energy, vector, training)
        if training:
            return energy, gradient, vector, hidden
        return energy.detach(), gradient, vector.detach(), hidden


class Potential(PotentialMethods, nn.Module):
    """DPA4 as a stand-alone model, without DeePMD-kit around it.

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
    ground_states : Tensor, optional
        Charge and spin multiplicity of the atoms that ``vacuum_ref`` refers to, (ntypes, 2).
    """

    def __init__(
        self,
        descriptor: Network,
        fitting_net: EnergyFitting,
        zbl: ZBL | None,
        ntypes: int,
        excluded_types: list[int] | None = None,
        ground_states: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.descriptor, self.fitting_net, self.zbl = descriptor, fitting_net, zbl
        self.register_buffer("out_bias", torch.zeros([1, ntypes, 1], dtype=torch.float64))
        self.register_buffer("counted", counted_types(ntypes, excluded_types or []), persistent=False)
        self.refer_to_isolated_atoms(fitting_net.vacuum_ref, ground_states)

    def forward(self, graph: Graph, frames: int, conditions: Conditions | None = None) -> dict[str, Tensor]:
        """Evaluate as :meth:`PotentialMethods.derive`, derivatives going to the nodes of the graph."""
        ends = graph.ends
        if conditions is None:
            conditions = Conditions(None, None, None)
        scatter = Scatter(ends.sender, ends.receiver, ends.n_receivers)
        return self.derive(graph, scatter, frames, conditions, self.training)


def counted_types(ntypes: int, excluded_types: list[int]) -> Tensor:
    """Mark with 1 every type that carries energy, with 0 excluded types and for padding, (ntypes + 1,)."""
    counted = torch.ones(ntypes + 1, dtype=torch.float64)
    counted[[*excluded_types, ntypes]] = 0.0
    return counted
