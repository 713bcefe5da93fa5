"""What a step costs, counted on tensors without data: arithmetic, memory traffic, kernels, and what history keeps."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import flop_registry

GATHERS = ("index_select", "gather", "index", "embedding")
SILENT = ("empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided", "detach", "lift_fresh", "alias")
"""Operators that start no kernel, besides views."""


@dataclass(frozen=True)
class Cost:
    """Floating-point operations of matrix products, bytes read and written, and kernels started."""

    flops: float = 0.0
    moved: float = 0.0
    kernels: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.flops + other.flops, self.moved + other.moved, self.kernels + other.kernels)


class Meter(TorchDispatchMode):
    """Counts operators as torch runs them one by one: each reads its arguments and writes its results."""

    def __init__(self) -> None:
        super().__init__()
        self.total = Cost()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.total += operator_cost(func, args, kwargs or {}, result)
        return result


def operator_cost(func: Any, args: Any, kwargs: Any, result: Any) -> Cost:
    """Cost of one operator that has run."""
    name = func._schema.name.split("::")[-1]
    outputs = [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, Tensor)]
    if func.is_view or name in SILENT or not outputs:
        return Cost()
    inputs = {id(leaf): leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)}
    written = sum(map(size_of, outputs))
    read = [size_of(leaf) for leaf in inputs.values()]
    if name in GATHERS:
        # a gather reads what it writes, not the whole table
        read[0] = min(read[0], written)
    formula = flop_registry.get(func._overloadpacket)
    flops = formula(*args, **kwargs, out_val=result) if formula else 0
    return Cost(float(flops), float(written + sum(read)), 1)


def size_of(tensor: Tensor) -> int:
    """Bytes of the elements of a tensor; those along an expanded axis are there once."""
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= size if stride != 0 else 1
    return count * tensor.element_size()


class Kept:
    """Bytes of the storages that history keeps, weights aside."""

    def __init__(self, module: nn.Module) -> None:
        self.known = {_storage(tensor) for tensor in [*module.parameters(), *module.buffers()]}
        self.alive: list[Tensor] = []
        self.bytes = 0

    def pack(self, tensor: Tensor) -> Tensor:
        key = _storage(tensor)
        if key not in self.known:
            self.known.add(key)
            self.alive.append(tensor)
            self.bytes += tensor.untyped_storage().nbytes()
        return tensor

    def hooks(self) -> Any:
        """Count what is kept in this context."""
        return torch.autograd.graph.saved_tensors_hooks(self.pack, lambda tensor: tensor)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
