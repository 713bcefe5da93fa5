"""Python inference with files that use native kernels."""

import functools
from typing import Any

from deepmd_dpa4.ops.native.load import load

UNKNOWN = "Unknown builtin op: dpa4::"


def with_native_kernels(evaluator: Any) -> Any:
    """Make a class of evaluators load, or compile, native kernels when the file that it opens turns out to use them.

    Parameters
    ----------
    evaluator : type
        DeePMD-kit's class; changed in place, once.

    Returns
    -------
    type
        The same class.
    """
    host_init = evaluator.__init__
    if hasattr(host_init, "loads_native_kernels"):
        return evaluator

    @functools.wraps(host_init)
    def init(self: Any, model_file: str, *args: Any, **kwargs: Any) -> None:
        try:
            host_init(self, model_file, *args, **kwargs)
        except RuntimeError as error:
            if UNKNOWN not in str(error):
                raise
            if not load():
                raise RuntimeError(
                    f"{model_file} uses native kernels, which this machine does not have, for the reason in the "
                    "warning above: mend it and run `dpa4 build`, or freeze the checkpoint with "
                    "`dp --pt freeze -o NAME.pth`"
                ) from error
            host_init(self, model_file, *args, **kwargs)

    init.loads_native_kernels = True  # type: ignore[attr-defined]
    evaluator.__init__ = init
    return evaluator
