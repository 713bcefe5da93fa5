"""Which architecture a model has, and how DeePMD-kit's commands take it."""

from collections.abc import Iterable, Mapping
from typing import Any

from deepmd_dpa4.checkpoint.archive import FileError
from deepmd_dpa4.checkpoint.canonical_options import is_bridged_composition
from deepmd_dpa4.checkpoint.options import is_dpa4
from deepmd_dpa4.checkpoint.pt_expt_names import is_exportable

DPA4 = "DPA4"


def architecture(params: Mapping[str, Any]) -> str:
    """Name the architecture of a ``model`` section: DPA4, else the type of the descriptor or of a composed model."""
    if is_dpa4(params) or is_bridged_composition(params):
        return DPA4
    kind = (params.get("descriptor") or {}).get("type") or params.get("type") or "unknown"
    return str(kind)


def dp(tensors: Iterable[str]) -> str:
    """Start of the commands of DeePMD-kit that read a checkpoint with these tensors."""
    return "dp --pt-expt" if is_exportable(tensors) else "dp --pt"


def require_dpa4(checkpoint: Any) -> None:
    """Refuse checkpoints of other architectures.

    Parameters
    ----------
    checkpoint : deepmd_dpa4.checkpoint.read.Checkpoint
        What was read.

    Raises
    ------
    FileError
        Which names the architecture and DeePMD-kit's command for it.
    """
    found = {kind for kind in map(architecture, checkpoint.branches.values()) if kind != DPA4}
    if found:
        raise FileError(
            f"{checkpoint.path} holds {' and '.join(sorted(found))}, which is another architecture than DPA4: "
            f"DeePMD-kit runs it as it is, and freezes it by `{freeze_command(checkpoint.path, checkpoint.tensors)}`"
        )


def freeze_command(path: Any, tensors: Iterable[str]) -> str:
    """Name the command of DeePMD-kit that freezes a checkpoint of another architecture."""
    names = list(tensors)
    return f"{dp(names)} freeze -c {path} -o NAME{'.pt2' if is_exportable(names) else '.pth'}"
