"""What the operators in Triton share: sizes of tiles, lists of edges by node, and runs without a card."""

from typing import Any

import torch
import triton
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from triton.runtime.jit import JITFunction

# The least extent of an operand of a matrix product.
SMALLEST_TILE = 16
# Rows and channels of the tiles that a program adds to.
MOST_ROWS, MOST_CHANNELS = 64, 64


def tile(size: int, most: int = 2**30) -> int:
    """Return the extent of a tile that holds ``size`` numbers, or ``most`` of them: a power of two."""
    return min(max(triton.next_power_of_2(size), SMALLEST_TILE), most)


def warps(numbers: int) -> int:
    """Return the warps of a program whose tiles have this many numbers: about 32 of them for each thread."""
    return min(max(triton.next_power_of_2(numbers) // 1024, 1), 16)


class _Silent:
    """Takes the place of a kernel where tensors have no numbers."""

    def __getitem__(self, grid: Any) -> Any:
        return lambda *arguments, **options: None


def interpreted(kernel: Any, result: Tensor) -> Any:
    """Return what runs a kernel that Triton interprets on the CPU and that writes to ``result``.

    None where Triton compiles it: then callers wrap it themselves, since torch looks for kernels in their source.
    """
    if isinstance(kernel, JITFunction):
        return None
    # torch cannot trace interpreted kernels
    return _Silent() if isinstance(result, FakeTensor) else kernel


def sizes(tensor: Tensor) -> tuple[int, int]:
    """Return the last two sizes, which belong to the network: kernels are made for them, also in traces."""
    return int(tensor.shape[1]), int(tensor.shape[2])


def first_edges(node: Tensor, n_nodes: int) -> Tensor:
    """Return where the edges of each node begin, (n_nodes + 1,), among edges sorted by ``node`` (E,)."""
    return torch.searchsorted(node, torch.arange(n_nodes + 1, device=node.device, dtype=node.dtype))
