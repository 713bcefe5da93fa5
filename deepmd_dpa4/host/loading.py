"""How DeePMD-kit reads files: TorchScript that uses native kernels, and checkpoints."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepmd_dpa4.checkpoint.archive import FileError
from deepmd_dpa4.checkpoint.read import read_params
from deepmd_dpa4.host.untrained import untrained_of
from deepmd_dpa4.ops.native.load import load
from deepmd_dpa4.type_names import NEUTRAL, SHARED_NAMES

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


def unscripted(construct: Callable[..., None]) -> Callable[..., None]:
    """Make the constructor of DeePMD-kit's ``DeepEval`` run checkpoints that hold our classes without TorchScript.

    It also notes which elements our models had no training data with.

    Parameters
    ----------
    construct : callable
        Takes the object, the file and options, among them ``no_jit``.

    Returns
    -------
    callable
        With the same arguments.
    """

    @functools.wraps(construct)
    def construct_unscripted(self: Any, model_file: Any, *args: Any, **kwargs: Any) -> None:
        if str(model_file).endswith(".pt") and holds_ours(Path(model_file)):
            kwargs["no_jit"] = True
        construct(self, model_file, *args, **kwargs)
        model = self.dp.model["Default"]
        if hasattr(model, "forward_systems"):
            self.untrained = untrained_of(str(model_file), self)
            # a frozen model would say it a second time
            model.elements_unchecked = False

    return construct_unscripted


def holds_ours(checkpoint: Path) -> bool:
    """Tell whether a checkpoint holds a model of ours; what is wrong with an unreadable one is left to DeePMD-kit."""
    try:
        return mentions_ours(read_params(checkpoint))
    except (OSError, FileError):
        return False


def mentions_ours(section: Any) -> bool:
    """Tell whether a ``model`` section, or a model or descriptor inside it, is of one of our types."""
    if isinstance(section, dict):
        return section.get("type") in (*SHARED_NAMES, NEUTRAL) or any(map(mentions_ours, section.values()))
    return isinstance(section, list) and any(map(mentions_ours, section))
