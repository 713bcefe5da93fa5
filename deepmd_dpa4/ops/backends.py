"""The implementations by name, and the choice of one for a whole model."""

import torch
from torch import nn

from deepmd_dpa4.ops.bessel import CpuEnvelopedBessel, EnvelopedBessel
from deepmd_dpa4.ops.edge_message import CpuEdgeMessage, EdgeMessage
from deepmd_dpa4.ops.field_product import CpuFieldProduct, FieldProduct, TritonFieldProduct
from deepmd_dpa4.ops.gated_sum import GatedSum, TritonGatedSum
from deepmd_dpa4.ops.matrix_product import CpuProduct, Product
from deepmd_dpa4.ops.measure_edges import CpuMeasureEdges, MeasureEdges
from deepmd_dpa4.ops.operation import Operation
from deepmd_dpa4.ops.outer_sum import CpuOuterSum, OuterSum
from deepmd_dpa4.ops.pairs import CpuPairs, Pairs
from deepmd_dpa4.ops.rotation import RotateBackSum, RotateIn, TritonRotateBackSum, TritonRotateIn
from deepmd_dpa4.ops.silu import CpuSilu, Silu
from deepmd_dpa4.ops.softmax import CpuEnvelopeSoftmax, EnvelopeSoftmax, TritonEnvelopeSoftmax

BACKENDS: dict[str, dict[type[Operation], type[Operation]]] = {
    "plain": {},
    "cpu": {
        EdgeMessage: CpuEdgeMessage,
        EnvelopedBessel: CpuEnvelopedBessel,
        EnvelopeSoftmax: CpuEnvelopeSoftmax,
        FieldProduct: CpuFieldProduct,
        MeasureEdges: CpuMeasureEdges,
        OuterSum: CpuOuterSum,
        Pairs: CpuPairs,
        Product: CpuProduct,
        Silu: CpuSilu,
    },
    "triton": {
        EnvelopeSoftmax: TritonEnvelopeSoftmax,
        FieldProduct: TritonFieldProduct,
        GatedSum: TritonGatedSum,
        RotateBackSum: TritonRotateBackSum,
        RotateIn: TritonRotateIn,
    },
}
"""For each backend the implementation of each operation; an operation that it lacks runs in plain torch."""


def use_backend(module: nn.Module, backend: str, device: torch.device | None = None) -> None:
    """Choose the implementations of a backend for all operations of a module.

    Where an implementation does not support the options, the device or the precision, plain torch runs.

    Parameters
    ----------
    module : nn.Module
        Parts that are no operations are left alone.
    backend : str
        Key of :data:`BACKENDS`. The native library has to be loaded before operations of ``cpu`` run.
    device : torch.device, optional
        Where the module will run, if it is not there yet.
    """
    present, dtype = _device_and_type(module)
    for part in module.modules():
        if isinstance(part, Operation):
            plain = plain_class(type(part))
            found = BACKENDS[backend].get(plain, plain)
            part.__class__ = found if found.supports(part.config, device or present, dtype) else plain
            part.prepare()


def backend_of(module: nn.Module) -> str:
    """Name the backend that any operation of a module uses besides plain torch, else ``plain``."""
    operations = (part for part in module.modules() if isinstance(part, Operation))
    return next((part.backend for part in operations if part.backend != "plain"), "plain")


def plain_class(kind: type[Operation]) -> type[Operation]:
    """Find the operation that an implementation implements."""
    return next(parent for parent in kind.__mro__ if Operation in parent.__bases__)


def _device_and_type(module: nn.Module) -> tuple[torch.device, torch.dtype]:
    for group in (module.parameters(), module.buffers()):
        for tensor in group:
            if tensor.is_floating_point():
                return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.get_default_dtype()
