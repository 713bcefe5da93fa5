"""Traced graphs for DeePMD-kit's ``.pt2`` exporter.

The exporter asks a model for a graph of energy and derivatives as functions of edges, which it compiles, packs and
describes.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._decomp import get_decompositions
from torch.fx.experimental.proxy_tensor import make_fx


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
        """No graph for several ranks.

        DeePMD-kit would nest its compiled form as a binary file in the archive, and the loader of torch 2.11 decodes
        every such file as text, so Python could no longer open the result. ``.pth`` files run on several ranks.
        """
        return False

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
