"""The choice between plain torch and the native library, as tests make it."""

import torch
from torch import nn

from deepmd_dpa4.ops.backends import backend_of, use_backend


def set_native(module: nn.Module, native: bool) -> None:
    use_backend(module, "cpu" if native else "plain")


def is_native(module: nn.Module) -> bool:
    return backend_of(module) == "cpu"


def scripted_code(module: nn.Module) -> str:
    """Script a module and return its graph with all calls inlined, which TorchScript does only where it optimises."""
    with torch.jit.optimized_execution(True):
        return str(torch.jit.script(module).inlined_graph)
