"""TorchScript files that use native kernels."""

import functools
from collections.abc import Callable
from typing import Any

from deepmd_dpa4.ops.native.load import load

UNKNOWN = "Unknown builtin op: dpa4::"


def with_native_kernels(read: Callable[..., Any]) -> Callable[..., Any]:
    """Make a reader of TorchScript files load, or compile, native kernels when a file turns out to use them.

    Parameters
    ----------
    read : callable
        Takes a path or an open file, and more; raises as ``torch.jit.load`` where an operator is unknown.

    Returns
    -------
    callable
        With the same arguments. It raises RuntimeError for a file that uses native kernels on a machine that cannot
        have them, and says what to do.
    """

    @functools.wraps(read)
    def read_with_native_kernels(file: Any, *args: Any, **kwargs: Any) -> Any:
        position = file.tell() if hasattr(file, "seek") else None
        try:
            return read(file, *args, **kwargs)
        except RuntimeError as error:
            if UNKNOWN not in str(error):
                raise
            if not load():
                raise RuntimeError(
                    f"{file} uses native kernels, which this machine does not have, for the reason in the warning "
                    "above: mend it and run `dpa4 build`, or freeze the checkpoint with `dp --pt freeze -o NAME.pth`"
                ) from error
        if position is not None:
            file.seek(position)
        return read(file, *args, **kwargs)

    return read_with_native_kernels
