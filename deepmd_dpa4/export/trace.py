"""Traced graphs for DeePMD-kit's ``.pt2`` exporter.

The exporter asks a model for graphs of energy and derivatives as functions of edges, one for a single rank and one
whose ghost features come from other ranks; it compiles, packs and describes them (plugin contract, section 4.3).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._decomp import get_decompositions
from torch.fx.experimental.proxy_tensor import make_fx

from deepmd_dpa4.graph.edges import Graph
from deepmd_dpa4.graph.neighbors import Scatter

COMMUNICATION = (
    "send_list",
    "send_proc",
    "recv_proc",
    "send_num",
    "recv_num",
    "communicator",
    "nlocal",
    "nghost",
)


def trace(function: Callable[..., Any], inputs: tuple[Any, ...]) -> torch.fx.GraphModule:
    """Flat graph of a function and of the gradients inside it, with symbolic sizes."""
    table = get_decompositions([torch.ops.aten.silu_backward.default])
    return make_fx(function, tracing_mode="symbolic", _allow_non_fake_inputs=True, decomposition_table=table)(*inputs)  # type: ignore[arg-type]


class ExportMethods:
    """What the exporter asks for; mixed into the model."""

    def export_lower_input_kind(self) -> str:
        """Edges are handed over as vectors."""
        return "edge_vec"

    def supports_edge_parallel(self) -> bool:
        """Also make the graph for several ranks."""
        return True

    def forward_common_lower_exportable(self, *inputs: Any) -> torch.fx.GraphModule:
        """Graph of ``forward_common_lower``."""

        def lower(
            coord: Tensor,
            atype: Tensor,
            edge_index: Tensor,
            edge_vec: Tensor,
            edge_scatter_index: Tensor,
            edge_mask: Tensor,
            fparam: Tensor | None,
            aparam: Tensor | None,
            charge_spin: Tensor | None,
        ) -> dict[str, Tensor]:
            return self.forward_common_lower(  # type: ignore[attr-defined]
                coord, atype, edge_index, edge_vec, edge_scatter_index, edge_mask, fparam, aparam, charge_spin
            )

        return trace(lower, inputs)

    def forward_common_lower_exportable_with_comm(self, *inputs: Any) -> torch.fx.GraphModule:
        """Graph for one of several ranks: nodes are owned atoms and ghosts, features of ghosts are exchanged."""
        from deepmd.pt_expt.utils.comm import ensure_comm_registered

        ensure_comm_registered()

        def lower(
            coord: Tensor,
            atype: Tensor,
            extended_atype: Tensor,
            edge_index: Tensor,
            edge_vec: Tensor,
            edge_scatter_index: Tensor,
            edge_mask: Tensor,
            fparam: Tensor | None,
            aparam: Tensor | None,
            charge_spin: Tensor | None,
            *communication: Tensor,
        ) -> dict[str, Tensor]:
            tables = dict(zip(COMMUNICATION, communication, strict=True))
            graph = self.graph_of_edges(extended_atype, edge_index, edge_vec, edge_mask)  # type: ignore[attr-defined]
            owned = atype.shape[1]
            graph = Graph(graph.node_type, owned, graph.frame, graph.sender, graph.receiver, graph.vector, tables)
            scatter = Scatter(edge_scatter_index[0], edge_scatter_index[1], extended_atype.shape[1])
            return self.derive_common(graph, scatter, atype, fparam, aparam, charge_spin)  # type: ignore[attr-defined]

        return trace(lower, inputs)
