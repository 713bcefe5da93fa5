"""Triton's interpreter with recent versions of numpy, in which it cannot take bounds of loops from tensors."""

from typing import Any

from triton.runtime import interpreter

_patch = interpreter._patch_lang_tensor


def _patch_with_index(tensor: Any, scope: Any) -> None:
    _patch(tensor, scope)
    scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))


def allow_loops() -> None:
    """Let kernels have loops whose bounds are read from tensors."""
    interpreter._patch_lang_tensor = _patch_with_index
