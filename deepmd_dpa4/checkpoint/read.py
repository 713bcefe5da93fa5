"""Checkpoints, ``.pt``: tensors and options, read without running what a pickle asks for."""

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepmd_dpa4.checkpoint.archive import CHECKPOINT, FileError, open_archive
from deepmd_dpa4.checkpoint.check_options import check_params
from deepmd_dpa4.checkpoint.model_kind import DPA4, architecture
from deepmd_dpa4.checkpoint.pt_expt_names import is_exportable, translated

SINGLE = "Default"
"""Name that DeePMD-kit gives to the only branch of a single-task model."""
STATE = "_extra_state"
FRAME_ORDER = "dpa4_frame_order"
"""Entry beside ``model`` and ``optimizer``, which DeePMD-kit ignores."""
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""Start of the files that torch wrote before it wrote archives, or does on request."""


class UnreadableError(FileError):
    """No program reads this file with torch: it is damaged, no file of torch, or asks for code to be run."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of DeePMD-kit.

    Parameters
    ----------
    path : Path
        The file.
    tensors : dict
        Tensors by key, ``model.<branch>.<name>``; branches that share a network share memory.
    params : dict
        The ``model`` section of the input that trained it.
    train_infos : dict
        ``step`` and ``lr`` at the time of writing.
    optimizer, ema : dict or None
        State of the optimizer; averaged weights and their decay.
    frame_order : dict or None
        Where a restart goes on drawing frames; other implementations ignore it.
    """

    path: Path
    tensors: dict[str, Tensor]
    params: dict[str, Any]
    train_infos: dict[str, Any]
    optimizer: dict[str, Any] | None
    ema: dict[str, Any] | None
    frame_order: dict[str, Any] | None = None

    @property
    def multi_task(self) -> bool:
        """Whether it holds named branches."""
        return "model_dict" in self.params

    @property
    def branches(self) -> dict[str, dict[str, Any]]:
        """The ``model`` section of each branch."""
        return self.params["model_dict"] if self.multi_task else {SINGLE: self.params}

    def branch_tensors(self, branch: str) -> dict[str, Tensor]:
        """Return the tensors of a branch by name, ``atomic_model.<...>``."""
        start = f"model.{branch}."
        return {key[len(start) :]: value for key, value in self.tensors.items() if key.startswith(start)}


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; tensors come to the CPU.

    torch reads with ``weights_only``: tensors, numbers, texts and containers, nothing that would call a function.

    Parameters
    ----------
    path : Path
        Written by DeePMD-kit, by this package, or by ``dpa4 convert``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileError
        If it is no checkpoint, cut short, asks for code to be run, or lacks what a checkpoint of DeePMD-kit holds.
    """
    if not is_legacy(path):
        verify_checkpoint(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a crafted or broken pickle leads to
        raise UnreadableError(f"{path} {_reason(error)}") from error
    return interpret(path, content)


def verify_checkpoint(path: Path) -> None:
    """Compare the contents of a checkpoint with their checksums.

    Raises
    ------
    FileError
        If it is damaged, or no archive of a checkpoint.
    """
    with open_archive(path) as archive:
        if archive.kind != CHECKPOINT:
            raise FileError(f"{path} is a {archive.kind} file but must be a checkpoint")


def is_legacy(path: Path) -> bool:
    """Tell whether torch wrote this file in its old format, which has no checksums."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(LEGACY)) == LEGACY


def load_mapped(path: str | Path) -> Any:
    """Load a checkpoint without executing code; tensors are mapped into memory where the format allows it."""
    return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


def read_params(path: Path) -> dict[str, Any]:
    """Read the ``model`` section that a checkpoint was trained with; weights are mapped into memory where they can be.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileError
        If it is no checkpoint of DeePMD-kit; :class:`UnreadableError` if it is cut short or damaged, or asks for
        something else than weights.
    """
    if not path.is_file():
        raise FileNotFoundError(f"`FILE` is {path} but there is no such file")
    try:
        content = load_mapped(path)
    except Exception as error:  # whatever a crafted or broken pickle leads to
        reason = _reason(error) if zipfile.is_zipfile(path) else "is not a file of torch, or cut short"
        raise UnreadableError(f"{path} {reason}") from error
    return _params(path, content)


def _params(path: Path, content: Any) -> dict[str, Any]:
    """The ``model`` section in what was loaded from a file."""
    if not isinstance(content, dict):
        raise FileError(f"{path} holds a {type(content).__name__} but a checkpoint holds a dictionary")
    state = content.get("model", content)
    extra = state.get(STATE) if isinstance(state, dict) else None
    params = extra.get("model_params") if isinstance(extra, dict) else None
    if not isinstance(params, dict):
        raise FileError(f"{path} is not a checkpoint of DeePMD-kit: it has no `model/{STATE}/model_params`")
    check_params(path, params)
    return params


def _reason(error: Exception) -> str:
    """One line for what torch says in many."""
    text = str(error)
    asked = re.search(r"GLOBAL (\S+)", text)
    if asked is not None:
        return f"asks for {asked[1]}, which is not read: a checkpoint holds weights only, anything else could run code"
    detail = text.partition("WeightsUnpickler error:")[2] or text
    first = next((line.strip() for line in detail.splitlines() if line.strip()), type(error).__name__)
    return f"is cut short or damaged: {first}"


def interpret(path: Path, content: Any) -> Checkpoint:
    """Take what was loaded from a file for a checkpoint; raises :class:`FileError` unless it has the form of one."""
    params = _params(path, content)
    state = content.get("model", content)
    extra = state[STATE]
    tensors = {key: value for key, value in state.items() if key != STATE}
    for key, value in tensors.items():
        _check_tensor(path, key, value)
    if is_exportable(tensors) and all(architecture(branch) == DPA4 for branch in _branches(params)):
        tensors = translated(tensors)
    found = Checkpoint(
        path=path,
        tensors=tensors,
        params=params,
        train_infos=_section(path, extra.get("train_infos"), "train_infos") or {},
        optimizer=_section(path, content.get("optimizer"), "optimizer"),
        ema=_section(path, content.get("ema"), "ema"),
        frame_order=_section(path, content.get(FRAME_ORDER), FRAME_ORDER) if "model" in content else None,
    )
    _check_branches(found)
    _check_training(path, found.train_infos, found.ema)
    return found


def _check_tensor(path: Path, key: Any, value: Any) -> None:
    """A tensor that holds all its numbers; a view with repeated memory could ask for any size."""
    if not isinstance(key, str) or not isinstance(value, Tensor):
        kind = type(value).__name__
        raise FileError(f"{path} is not a checkpoint of DeePMD-kit: {key!r} is of type {kind} but must be a tensor")
    if value.layout != torch.strided or value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise FileError(f"{path} is damaged: {key} has {value.numel()} numbers but not the memory for them")


def _section(path: Path, value: Any, name: str) -> dict[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise FileError(f"{path} is not a checkpoint of DeePMD-kit: {name} is a {type(value).__name__}")
    return value


def _branches(params: dict[str, Any]) -> list[dict[str, Any]]:
    return list(params["model_dict"].values()) if "model_dict" in params else [params]


def _check_branches(found: Checkpoint) -> None:
    for name in found.branches:
        if not found.branch_tensors(name):
            raise FileError(f"{found.path} is damaged: it has no tensors of branch {name}")


def _check_training(path: Path, training: dict[str, Any], ema: dict[str, Any] | None) -> None:
    for key, kinds in (("step", int), ("lr", int | float)):
        if not isinstance(training.get(key), kinds | None):
            raise FileError(f"{path} is damaged: `train_infos/{key}` is {training[key]!r:.60} but must be a number")
    averages = (ema or {}).get("model", {})
    if not isinstance(averages, dict):
        raise FileError(f"{path} is damaged: `ema/model` is a {type(averages).__name__}")
    for key, value in averages.items():
        _check_tensor(path, f"ema/{key}", value)
