"""From what callers hand over to the graph a model is evaluated on."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from deepmd_dpa4.graph.graph import Ends, Graph
from deepmd_dpa4.graph.neighbors import Scatter, check_geometry, from_table, search
from deepmd_dpa4.host.compat import every_neighbor


class GraphMethods:
    """Mixed into :class:`deepmd_dpa4.host.model.ModelDPA4`."""

    # TorchScript reads the annotations of a class, so these exist for the type checker alone.
    if TYPE_CHECKING:
        atomic_model: Any

        def set_matmul_precision(self, device: torch.device) -> None: ...

    def graph_of(self, coord: Tensor, atype: Tensor, box: Tensor | None) -> tuple[Graph, Scatter]:
        """Build the graph of frames, derivatives going to their atoms."""
        if torch.jit.is_scripting():
            return self.graph_by_host(coord, atype, box)
        return self.graph_by_search(coord, atype, box)

    @torch.jit.unused
    def graph_by_search(self, coord: Tensor, atype: Tensor, box: Tensor | None) -> tuple[Graph, Scatter]:
        """Build it by cell lists."""
        self.set_matmul_precision(coord.device)
        descriptor = self.atomic_model.descriptor
        cell = None if box is None else box.view(-1, 3, 3)
        graph = search(coord, atype, cell, descriptor.rcut, descriptor.ntypes, descriptor.excluded)
        return graph, Scatter(graph.ends.sender, graph.ends.receiver, graph.ends.n_receivers)

    def graph_by_host(self, coord: Tensor, atype: Tensor, box: Tensor | None) -> tuple[Graph, Scatter]:
        """Build it by the host's pairwise search, the only one that exists in a frozen file; quadratic in the atoms."""
        descriptor = self.atomic_model.descriptor
        frames, atoms = atype.shape
        check_geometry(coord, None if box is None else box.view(frames, 3, 3))
        cell = None if box is None else box.view(frames, 9).to(torch.float64)
        extended, types, mapping, table = every_neighbor(coord.to(torch.float64), atype, descriptor.rcut, cell)
        graph, _ = from_table(
            extended, types, table, mapping, None, descriptor.rcut, descriptor.ntypes, descriptor.excluded
        )
        return graph, Scatter(graph.ends.sender, graph.ends.receiver, frames * atoms)

    def graph_of_edges(self, atype: Tensor, edge_index: Tensor, edge_vec: Tensor, edge_mask: Tensor) -> Graph:
        """Turn the edges of a caller into a graph; edges that do not count get a length beyond the cutoff."""
        descriptor = self.atomic_model.descriptor
        frames, nloc = atype.shape
        node_type = torch.where(atype < 0, torch.full_like(atype, descriptor.ntypes), atype).flatten()
        frame = torch.arange(frames, device=atype.device).unsqueeze(1).expand(frames, nloc).flatten()
        sender, receiver = edge_index[0], edge_index[1]
        excluded = descriptor.excluded[node_type.index_select(0, sender), node_type.index_select(0, receiver)]
        counts = edge_mask.to(torch.bool) & ~excluded
        beyond = torch.full_like(edge_vec, 2.0 * descriptor.rcut)
        vector = torch.where(counts.unsqueeze(1), edge_vec, beyond).to(torch.float64)
        return Graph(node_type, frame, Ends(sender, receiver, frames * nloc), vector, None)

    def graph_of_systems(self, atype: Tensor, system: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Graph:
        """Turn the edges of systems of different sizes into a graph; the frame of an atom is its system."""
        every = torch.ones_like(edge_index[0], dtype=torch.bool)
        graph = self.graph_of_edges(atype.unsqueeze(0), edge_index, edge_vec, every)
        return Graph(graph.node_type, system, graph.ends, graph.vector, None)
