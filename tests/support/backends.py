"""The choice between plain torch and the native library, as tests make it."""

import io
import zipfile

import torch
from torch import nn

from deepmd_dpa4.ops.backends import backend_of, use_backend


def set_native(module: nn.Module, native: bool) -> None:
    use_backend(module, "cpu" if native else "plain")


def is_native(module: nn.Module) -> bool:
    return backend_of(module) == "cpu"


def scripted_code(module: nn.Module) -> str:
    """Script a module and return the code of a file with it, of all functions that it calls."""
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(module), buffer)
    with zipfile.ZipFile(buffer) as archive:
        names = [name for name in archive.namelist() if "/code/" in name and name.endswith(".py")]
        return "\n".join(archive.read(name).decode() for name in names)
