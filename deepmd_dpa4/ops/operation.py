"""Operations that have more than one implementation, and what an implementation covers.

An operation is a module whose own class computes it in plain torch, which defines its meaning and serves every option
and device. An implementation is a subclass with the same attributes. Choosing one changes the class of the module, so
weights, buffers and their names stay where they are, and TorchScript compiles the chosen code alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from shutil import which
from typing import Any

import torch
from torch import nn

from deepmd_dpa4.config import DescriptorConfig

Options = Mapping[str, Any]
# Compute capability; the kernels are compiled for this and newer ones in the tests.
OLDEST_CARD = (8, 0)


class Operation(nn.Module):
    """An operation in plain torch.

    Attributes
    ----------
    config : DescriptorConfig or None
        Options that decide what is computed; None for a function of tensors alone, which no option changes.
    """

    backend = "plain"

    def __init__(self, config: DescriptorConfig | None = None) -> None:
        super().__init__()
        self.config = config

    def prepare(self) -> None:
        """Make what this implementation needs besides the attributes of the operation, once it has been chosen."""

    @classmethod
    def supports(cls, config: DescriptorConfig | None, device: torch.device, dtype: torch.dtype) -> bool:
        """Tell whether this implementation serves a network with these options on this device."""
        return True


@dataclass(frozen=True)
class Coverage:
    """The options under which an implementation computes what plain torch does: an allow-list that fails closed.

    Attributes
    ----------
    free : frozenset[str]
        Options of which every value is served.
    limits : Mapping[str, Callable]
        Options of which some values are served, each with a test of all options.
    """

    free: frozenset[str]
    limits: Mapping[str, Callable[[Options], bool]] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        """List the options named."""
        return self.free | frozenset(self.limits)

    def __call__(self, config: DescriptorConfig) -> bool:
        """Tell whether these options are covered; an option that the list does not name is not."""
        options = config.flat()
        return set(options) <= self.names and all(allows(options) for allows in self.limits.values())


class OnCpu:
    """What implementations by the native library for CPUs share."""

    backend = "cpu"

    @classmethod
    def supports(cls, config: DescriptorConfig | None, device: torch.device, dtype: torch.dtype) -> bool:
        """Tell whether the library has code for this device and precision."""
        return device.type == "cpu" and dtype in (torch.float32, torch.float64)


class OnCuda:
    """What implementations in Triton share."""

    backend = "triton"

    @classmethod
    def supports(cls, config: DescriptorConfig | None, device: torch.device, dtype: torch.dtype) -> bool:
        """Tell whether there is Triton, and kernels for this device and precision."""
        return device.type == "cuda" and dtype == torch.float32 and has_triton() and _is_recent(device)


@cache
def has_triton() -> bool:
    """Tell whether Triton is installed, and the compiler of C that it needs; it is not imported."""
    return find_spec("triton") is not None and any(map(which, ("cc", "gcc", "clang")))


def _is_recent(device: torch.device) -> bool:
    return not torch.cuda.is_available() or torch.cuda.get_device_capability(device) >= OLDEST_CARD
