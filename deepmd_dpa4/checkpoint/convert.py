"""A checkpoint for the other implementation, or a part of one."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepmd_dpa4.checkpoint.archive import FileError
from deepmd_dpa4.checkpoint.canonical_options import BUILTIN, PLUGIN, normalize, shared_sections
from deepmd_dpa4.checkpoint.expected_tensors import DESCRIPTOR, Layout, layout
from deepmd_dpa4.checkpoint.match_keys import fit, listed
from deepmd_dpa4.checkpoint.options import Section
from deepmd_dpa4.checkpoint.read import FRAME_ORDER, SINGLE, STATE, Checkpoint
from deepmd_dpa4.config.option import ConfigError, require_one_of
from deepmd_dpa4.files import write_bytes
from deepmd_dpa4.nn.low_rank import fold, is_factor

TARGETS = (BUILTIN, PLUGIN)


@dataclass(frozen=True)
class Conversion:
    """What to write.

    Parameters
    ----------
    to : str
        Implementation that the options are written for: ``official`` or ``plugin``.
    branch : str, optional
        The only branch to keep; all by default.
    weights_only : bool
        Leave out the state of the optimizer and averaged weights, and fold low-rank updates into the weights.
    averaged : bool
        Averaged weights in place of the last ones.
    """

    to: str = PLUGIN
    branch: str | None = None
    weights_only: bool = False
    averaged: bool = False

    def __post_init__(self) -> None:
        require_one_of("--to", self.to, TARGETS)
        for given, name in ((self.branch is not None, "--branch"), (self.averaged, "--ema")):
            if given and not self.weights_only:
                raise ConfigError(
                    f"`{name}` is given without `--weights-only`: the state of the optimizer belongs to all weights as "
                    "they are, so leave it out"
                )


@dataclass(frozen=True)
class Converted:
    """A checkpoint to write, and what differs from the one it comes from."""

    checkpoint: Checkpoint
    notes: tuple[str, ...]


def convert(checkpoint: Checkpoint, wanted: Conversion) -> Converted:
    """Rewrite a checkpoint.

    Its options are spelled out under the names that both implementations know, its tensors checked against them and
    completed by tables that follow from the options; weights are not touched.

    Raises
    ------
    ConfigError
        If an option is unknown or wrong, the branch does not exist, or there are no averaged weights.
    UnsupportedOption
        If only the built-in DPA4 has an option, and ``plugin`` is wanted; or it lacks one that the energy depends on,
        and ``official`` is wanted.
    FileError
        If tensors are missing, or of another shape than the options say.
    """
    notes: list[str] = []
    if wanted.averaged:
        checkpoint = _averaged(checkpoint)
        notes.append("averaged weights in place of the last ones")
    if wanted.branch is not None:
        checkpoint = _single(checkpoint, wanted.branch)
        notes.append(f"branch {wanted.branch} as a single task")
    if wanted.weights_only:
        dropped = [name for name, state in (("optimizer", checkpoint.optimizer), ("ema", checkpoint.ema)) if state]
        notes += [f"no state of `{name}`" for name in dropped]
        checkpoint = replace(checkpoint, optimizer=None, ema=None, frame_order=None)
        if any(is_factor(key) for key in checkpoint.tensors):
            checkpoint = _folded(checkpoint)
            notes.append("low-rank updates are folded into the weights")
    sections: dict[str, Section] = {}
    tensors: dict[str, Tensor] = {}
    for name, params in checkpoint.branches.items():
        own = checkpoint.branch_tensors(name)
        result = normalize(params, wanted.to, own)
        kept, told = own, ["tensors of the options of the built-in DPA4 are not checked"]
        if not result.options.builtin_only:
            numbers = sum(value.numel() for value in own.values())
            kept, told = _completed(checkpoint.path, own, layout(result.params, numbers, _precision(own)))
        sections[name] = result.params
        tensors |= {f"model.{name}.{key}": value for key, value in kept.items()}
        label = f"{name}: " if checkpoint.multi_task else ""
        notes += [label + note for note in (*result.notes, *told)]
    if checkpoint.multi_task:
        shared = shared_sections(checkpoint.params.get("shared_dict") or {})
        params = {**checkpoint.params, "shared_dict": shared, "model_dict": sections}
    else:
        params = sections[SINGLE]
    return Converted(replace(checkpoint, params=params, tensors=tensors), tuple(notes))


def write(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint in the layout of DeePMD-kit; the file appears when it is complete.

    Without the state of an optimizer the file holds the bare state of the model, which DeePMD-kit also restarts from.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    WriteError
        If there is no space, or no permission.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"`--output` is {path} but the folder {path.parent} does not exist")
    extra = {"model_params": checkpoint.params, "train_infos": checkpoint.train_infos}
    content: dict[str, Any] = {STATE: extra, **checkpoint.tensors}
    if checkpoint.optimizer is not None:
        content = {"model": content, "optimizer": checkpoint.optimizer}
        if checkpoint.ema is not None:
            content["ema"] = checkpoint.ema
        if checkpoint.frame_order is not None:
            content[FRAME_ORDER] = checkpoint.frame_order
    # into memory first: torch's writer of files does not say why it fails
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(path, buffer.getbuffer())


def _averaged(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with averaged weights as its weights."""
    averages = (checkpoint.ema or {}).get("model")
    if not averages:
        raise ConfigError(
            f"`--ema` is given but {checkpoint.path} holds no averaged weights, which `training/enable_ema` makes"
        )
    start = "model." if checkpoint.multi_task else f"model.{SINGLE}."
    named = {start + name: value for name, value in averages.items()}
    unknown = sorted(set(named) - set(checkpoint.tensors))
    if unknown:
        raise FileError(f"{checkpoint.path} is damaged: it averages {unknown[0]}, which it does not hold")
    return _with_weights(checkpoint, named)


def _folded(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with the weights that low-rank updates make, and without the updates."""
    tensors = dict(checkpoint.tensors)
    try:
        changed = {key for key in fold(tensors) if key in tensors}
    except ValueError as error:
        raise FileError(f"{checkpoint.path} is damaged: {error}") from error
    sections = {name: {**params, "lora": None} for name, params in checkpoint.branches.items()}
    params = {**checkpoint.params, "model_dict": sections} if checkpoint.multi_task else sections[SINGLE]
    kept = replace(checkpoint, params=params, tensors={key: checkpoint.tensors[key] for key in tensors})
    return _with_weights(kept, {key: tensors[key] for key in changed})


def _with_weights(checkpoint: Checkpoint, weights: Mapping[str, Tensor]) -> Checkpoint:
    """The checkpoint with other weights; branches that share a network go on sharing it."""
    first: dict[int, Tensor] = {}
    shared = {
        key: first.setdefault(checkpoint.tensors[key].untyped_storage().data_ptr(), value)
        for key, value in weights.items()
    }
    return replace(checkpoint, tensors=checkpoint.tensors | shared)


def _single(checkpoint: Checkpoint, branch: str) -> Checkpoint:
    """One branch as the only model."""
    if not checkpoint.multi_task:
        raise ConfigError(f"`--branch` is {branch!r} but {checkpoint.path} has no branches")
    aliases = {
        alias: name for name, params in checkpoint.branches.items() for alias in params.get("model_branch_alias") or []
    }
    name = branch if branch in checkpoint.branches else aliases.get(branch)
    if name is None:
        allowed = ", ".join([*checkpoint.branches, *aliases])
        raise ConfigError(f"`--branch` is {branch!r} but must be one of {allowed}, the branches of {checkpoint.path}")
    params = {key: value for key, value in checkpoint.branches[name].items() if key != "finetune_head"}
    tensors = {f"model.{SINGLE}.{key}": value for key, value in checkpoint.branch_tensors(name).items()}
    return replace(checkpoint, params=params, tensors=tensors)


def _precision(tensors: Mapping[str, Tensor]) -> torch.dtype:
    types = tensors.get(f"{DESCRIPTOR}type_embedding.adam_type_embedding")
    return torch.float32 if types is None else types.dtype


def _completed(path: Path, tensors: Mapping[str, Tensor], wanted: Layout) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of a layout, in its terms complete, and what was added and left out."""
    shapes = wanted.parameters | wanted.statistics
    known = {*shapes, *wanted.derived, *filter(is_factor, tensors)}
    compared = fit(tensors, known, DESCRIPTOR)
    missing = [name for name in shapes if name not in tensors]
    if missing:
        raise FileError(f"{path} does not fit its options: it lacks {listed(missing)}")
    for name, shape in shapes.items():
        if tuple(tensors[name].shape) != shape:
            raise FileError(
                f"{path} does not fit its options: {name} has the shape {tuple(tensors[name].shape)}, not {shape}"
            )
    if compared.foreign:
        raise FileError(f"{path} does not fit its options: it also holds {listed(compared.foreign)}")
    kept = {name: value for name, value in tensors.items() if name in known}
    added = {name: value for name, value in wanted.derived.items() if _differs(kept.get(name), value)}
    notes = [f"{len(added)} tables are added"] if added else []
    if compared.stale:
        notes.append(f"{len(compared.stale)} tensors that are no parameters are left out: {listed(compared.stale)}")
    return kept | added, notes


def _differs(found: Tensor | None, table: Tensor) -> bool:
    return found is None or found.shape != table.shape
