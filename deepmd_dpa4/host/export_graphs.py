"""Traced graphs for DeePMD-kit's ``.pt2`` exporter.

The exporter asks a model for a graph of energy and derivatives as functions of edges, which it compiles, packs and
describes.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._decomp import get_decompositions
from torch.fx.experimental.proxy_tensor import make_fx

from deepmd_dpa4.graph.neighbors import Scatter

TABLES = ("send_list", "send_proc", "recv_proc", "send_num", "recv_num", "communicator", "nlocal", "nghost")
"""Communication tables in the order in which LAMMPS hands them to a compiled file."""


def trace(function: Callable[..., Any], inputs: tuple[Any, ...]) -> torch.fx.GraphModule:
    """Trace the flat graph of a function and of the gradients inside it, with symbolic sizes."""
    table = get_decompositions([torch.ops.aten.silu_backward.default])
    return make_fx(function, tracing_mode="symbolic", _allow_non_fake_inputs=True, decomposition_table=table)(*inputs)  # type: ignore[arg-type]


class ExportMethods:
    """What the exporter asks for; mixed into the model."""

    # TorchScript reads the annotations of a class, so this exists for the type checker alone.
    if TYPE_CHECKING:
        atomic_model: Any

    def export_lower_input_kind(self) -> str:
        """Ask for edges as vectors."""
        return "edge_vec"

    def supports_edge_parallel(self) -> bool:
        """Offer a graph for several ranks, which exchanges features of ghosts."""
        return True

    def forward_common_lower_exportable(self, *inputs: Any) -> torch.fx.GraphModule:
        """Trace the graph of ``forward_common_lower``."""

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

        self.atomic_model.fold_isolated_atoms()
        return trace(lower, inputs)

    def forward_common_lower_exportable_with_comm(self, *inputs: Any) -> torch.fx.GraphModule:
        """Trace the graph of one rank among several: owned atoms and ghosts, whose features come from their owners.

        Inputs are those of ``forward_common_lower`` with the types of all atoms after those of the owned ones and
        edges between all atoms, then the communication tables in the order of :data:`TABLES`.
        """
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
            *tables: Tensor,
        ) -> dict[str, Tensor]:
            owned = self.graph_of_edges(extended_atype, edge_index, edge_vec, edge_mask)  # type: ignore[attr-defined]
            ends = owned.ends._replace(n_receivers=atype.shape[1])
            graph = owned._replace(ends=ends, exchange=dict(zip(TABLES, tables, strict=True)))
            scatter = Scatter(edge_scatter_index[0], edge_scatter_index[1], extended_atype.shape[1])
            conditions = self.conditions(fparam, aparam, charge_spin, atype.shape[0], graph.vector, True)  # type: ignore[attr-defined]
            return self.derive_common(graph, scatter, atype, conditions)  # type: ignore[attr-defined]

        self.atomic_model.fold_isolated_atoms()
        return trace(lower, inputs)
