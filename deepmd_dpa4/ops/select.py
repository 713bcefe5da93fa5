"""Which of their implementations modules use: plain torch or native kernels.

A module with two implementations declares an attribute ``native`` on its class, false by default. TorchScript takes it
as a constant if it is annotated ``Final``, and then compiles the chosen implementation only.
"""

from torch import nn


def set_native(module: nn.Module, native: bool) -> None:
    """Choose for a module and all its parts.

    Parameters
    ----------
    module : nn.Module
        Parts without a choice are left alone.
    native : bool
        Use native kernels for CPU tensors; the library has to be loaded before they run.
    """
    for part in module.modules():
        if _has_choice(part):
            setattr(part, "native", native)  # noqa: B010  (declared Final)


def is_native(module: nn.Module) -> bool:
    """Whether any part of a module uses native kernels."""
    return any(_has_choice(part) and bool(part.native) for part in module.modules())


def _has_choice(module: nn.Module) -> bool:
    return hasattr(type(module), "native")
