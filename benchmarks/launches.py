"""Memory traffic of the kernels in a plan of torch's compiler, those written in Triton by hand included."""

from collections.abc import Callable
from typing import Any

import torch
from torch._higher_order_ops.triton_kernel_wrap import Param, generate_ttir, kernel_side_table, ttir_to_functions
from torch._inductor.ir import IRNode, UserDefinedTritonKernel
from torch._inductor.scheduler import ForeachKernelSchedulerNode
from torch._inductor.utils import get_dtype_size

Hint = Callable[[Any], int]
"""Value of an expression of the numbers of nodes and edges."""


def is_launch(node: Any) -> bool:
    """Tell whether a node of the plan launches a kernel that was written by hand."""
    return isinstance(node.node, UserDefinedTritonKernel)


def name_of(node: Any) -> str:
    """Name of the kernel that a node launches."""
    return str(kernel_side_table.get_kernel(node.node.kernel_idx).fn.__name__)


def traffic_of(node: Any) -> Callable[[Hint], float]:
    """Bytes that a node of the plan reads and writes, for values of the symbols.

    By the compiler's own count, each kernel reads or writes a buffer once. Of a kernel written by hand it counts every
    argument, also those that this form of the kernel does not touch, and results twice; here its translated code says
    what it touches.
    """
    if not is_launch(node):
        parts = node.get_subkernel_nodes() if isinstance(node, ForeachKernelSchedulerNode) else [node]
        return lambda hint: sum(part.get_read_write_buffers_sizes_impl(True, True) for part in parts)
    touched = _touched(node.node)
    return lambda hint: sum(get_dtype_size(buffer.get_dtype()) * _numbers(buffer, hint) for buffer in touched)


def _numbers(buffer: Any, hint: Hint) -> int:
    count = 1
    for size in buffer.get_size():
        count *= hint(size)
    return count


def _touched(launch: Any) -> list[Any]:
    """Buffers whose addresses the code of a kernel uses, each once."""
    kernel = kernel_side_table.get_kernel(launch.kernel_idx)
    given = {name: launch.get_kwargs_value(name) for name in launch.ordered_kwargs_for_cpp_kernel}
    buffers = {name: value for name, value in given.items() if isinstance(value, IRNode)}
    examples = {name: torch.empty(2, dtype=buffer.get_dtype()) for name, buffer in buffers.items()}
    code, names = generate_ttir(kernel, given | examples, {})
    functions = ttir_to_functions(code)
    operations = [one for made in functions[next(iter(functions))].values() for one in made]
    used = {names[value.idx] for one in operations for value in one.args if isinstance(value, Param)}
    return list({buffers[name].get_name(): buffers[name] for name in used}.values())
