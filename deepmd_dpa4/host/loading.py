"""How DeePMD-kit reads files: TorchScript that uses native kernels, and checkpoints."""

import functools
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from deepmd.pt.utils.env import DEVICE

from deepmd_dpa4.checkpoint.archive import ABOUT, FileError, open_archive
from deepmd_dpa4.checkpoint.read import UnreadableError, is_legacy, read_params, verify_checkpoint
from deepmd_dpa4.errors import UserError
from deepmd_dpa4.graph.extent import check_extent
from deepmd_dpa4.graph.neighbors import check_geometry
from deepmd_dpa4.host.element_warnings import untrained_of
from deepmd_dpa4.ops.native.load import load
from deepmd_dpa4.type_names import mentions_ours

UNKNOWN = "Unknown builtin op: dpa4::"


class KernelError(UserError, RuntimeError):
    """A file needs native kernels on a machine that cannot have them."""


def with_native_kernels(read: Callable[..., Any]) -> Callable[..., Any]:
    """Make a reader of TorchScript files load, or compile, native kernels when a file turns out to use them.

    Files of ours are compared with their checksums first, which torch does not do.

    Parameters
    ----------
    read : callable
        Takes a path or an open file, and more; raises as ``torch.jit.load`` where an operator is unknown.

    Returns
    -------
    callable
        With the same arguments. It raises :class:`KernelError` for a file that uses native kernels on a machine that
        cannot have them, and says what to do.
    """

    @functools.wraps(read)
    def read_with_native_kernels(file: Any, *args: Any, **kwargs: Any) -> Any:
        position = file.tell() if hasattr(file, "seek") else None
        if position is None and is_frozen_by_us(Path(file)):
            with open_archive(Path(file)):
                pass
        try:
            return read(file, *args, **kwargs)
        except RuntimeError as error:
            if UNKNOWN not in str(error):
                raise
            if not load():
                raise KernelError(
                    f"{file} uses native kernels, which this machine does not have, for the reason in the warning "
                    "above: fix it and run `dpa4 build`, or freeze the checkpoint with `dp --pt freeze -o NAME.pth`"
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
        if str(model_file).endswith(".pt") and examined(Path(model_file)):
            kwargs["no_jit"] = True
        construct(self, model_file, *args, **kwargs)
        model = self.dp.model["Default"]
        if hasattr(model, "fold_isolated_atoms"):
            model.fold_isolated_atoms()
        if hasattr(model, "forward_systems"):
            self.untrained = untrained_of(str(model_file), self)
            # a frozen model would say it a second time
            model.elements_unchecked = False
        if isinstance(model, torch.jit.ScriptModule) and hasattr(model, "elements_unchecked"):
            # a frozen model of ours gets what DeePMD-kit's neighbour search makes of a frame
            self.rcut_of_search = float(self.get_rcut())

    return construct_unscripted


def as_written(device: torch.device) -> AbstractContextManager[None]:
    """Keep TorchScript from optimising the models that run in this context, on CPUs.

    It would do so in the first two calls, for ten seconds or more, and the later ones would gain nothing.
    """
    return torch.jit.optimized_execution(device.type != "cpu")


def checking_frames(evaluate: Callable[..., Any]) -> Callable[..., Any]:
    """Make ``DeepEval.eval`` of a frozen model of ours refuse frames at which DeePMD-kit's search ends the process.

    It then runs as it is, see :func:`as_written`.
    """

    @functools.wraps(evaluate)
    def evaluate_checked(self: Any, coords: Any, cells: Any, *args: Any, **kwargs: Any) -> Any:
        rcut = getattr(self, "rcut_of_search", None)
        if rcut is not None:
            coord = torch.as_tensor(np.array(coords, dtype=np.float64)).view(len(coords), -1, 3)
            box = None if cells is None else torch.as_tensor(np.array(cells, dtype=np.float64)).view(-1, 3, 3)
            check_geometry(coord, box)
            check_extent(coord, box, rcut)
            with as_written(DEVICE):
                return evaluate(self, coords, cells, *args, **kwargs)
        return evaluate(self, coords, cells, *args, **kwargs)

    return evaluate_checked


def examined(checkpoint: Path) -> bool:
    """Tell whether a checkpoint holds a model of ours, which is then compared with its checksums.

    Raises
    ------
    FileError
        If it is damaged, or torch cannot read it at all; what else is wrong is left to DeePMD-kit.
    """
    try:
        ours = mentions_ours(read_params(checkpoint))
    except UnreadableError:
        raise
    except (OSError, FileError):
        return False
    if ours and not is_legacy(checkpoint):
        verify_checkpoint(checkpoint)
    return ours


def is_frozen_by_us(path: Path) -> bool:
    """Tell whether a file is a frozen model that says it is ours."""
    try:
        with zipfile.ZipFile(path) as entries:
            return any(name.endswith(f"/{ABOUT}") for name in entries.namelist())
    except (OSError, ValueError, zipfile.BadZipFile):
        return False
