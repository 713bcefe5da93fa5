"""Which backend of DeePMD-kit reads a checkpoint.

DeePMD-kit tells its PyTorch backends apart by the names in a checkpoint, so a DPA4 that was trained by ``dp --pt-expt``
would run there. The network is the same, and this package reads both kinds of names, so it takes those checkpoints too.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def claim_checkpoints() -> None:
    """Let the backend ``pt-expt`` pass on checkpoints of models that this package builds."""
    try:
        from deepmd.backend.pt_expt import PyTorchExportableBackend as Exportable
    except ImportError:  # DeePMD-kit 3.1 has no such backend
        return
    Exportable.match_filename = classmethod(passing_on(Exportable.match_filename.__func__))


def passing_on(host_match: Callable[..., int]) -> Callable[..., int]:
    """Make the backend's claim to a file 0 for checkpoints of this package's models."""

    def match(backend: Any, filename: str) -> int:
        score = host_match(backend, filename)
        return 0 if score > 0 and is_ours(Path(filename)) else score

    return match


def is_ours(path: Path) -> bool:
    """Tell whether this package builds all models of a checkpoint; anything that is none is not."""
    if path.suffix != ".pt":
        return False
    from deepmd_dpa4.checkpoint.archive import FileError
    from deepmd_dpa4.checkpoint.options import runs_here
    from deepmd_dpa4.checkpoint.read import read_checkpoint

    try:
        checkpoint = read_checkpoint(path)
    except (OSError, FileError):
        return False
    # that backend builds zone bridging as a sum of two models, whose parts each have statistics
    if any(".atomic_model.models." in name for name in checkpoint.tensors):
        return False
    return all(runs_here(params, checkpoint.branch_tensors(name)) for name, params in checkpoint.branches.items())
