"""What the operators in Triton share: sizes of tiles, failures, and runs without a card."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import triton
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from triton.runtime.jit import JITFunction

from deepmd_dpa4.errors import UserError

# The least extent of an operand of a matrix product.
SMALLEST_TILE = 16
# Rows and channels of the tiles that a program adds to.
MOST_ROWS, MOST_CHANNELS = 64, 64
# Kernels count programs, nodes and edges in 32 bits; addresses have 64.
MOST_COUNTED = 2**31 - 1


class KernelError(UserError, RuntimeError):
    """A kernel cannot run on this device, or not for so large a system."""


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


@contextmanager
def starting(operation: str, result: Tensor) -> Iterator[None]:
    """Tell in one line that a kernel cannot be compiled for, or started on, the device of its ``result``.

    Raises
    ------
    KernelError
        Unless memory is short, or the kernel is being traced: those who trace tell failures themselves.
    """
    try:
        yield
    except (torch.OutOfMemoryError, UserError):
        raise
    except Exception as error:
        if isinstance(result, FakeTensor):
            raise
        reason = (str(error).strip() or "no reason given").split("\n")[0]
        raise KernelError(
            f"the kernel `{operation}` in Triton cannot run on {_name(result.device)}: {type(error).__name__}: "
            f"{reason}; `model/kernels` = 'plain' always works"
        ) from error


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def check_counts(operation: str, *counts: int) -> None:
    """Check that kernels can count what they are given.

    Raises
    ------
    KernelError
        If one of the numbers does not fit into 32 bits.
    """
    for count in counts:
        # sizes in traces are symbols; compiled code has a limit of its own
        if isinstance(count, int) and count > MOST_COUNTED:
            raise KernelError(
                f"the kernel `{operation}` in Triton is given {count} programs, nodes or edges but takes "
                f"{MOST_COUNTED} at most; `model/kernels` = 'plain' takes any number"
            )


def sizes(tensor: Tensor) -> tuple[int, int]:
    """Return the last two sizes, which belong to the network: kernels are made for them, also in traces."""
    return int(tensor.shape[1]), int(tensor.shape[2])
