"""What a model file holds, as plain data: the contents of ``dpa4 info --json``."""

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from deepmd_dpa4.checkpoint.archive import ABOUT, COMPILED, SCRIPT, Archive, FileError, open_archive
from deepmd_dpa4.checkpoint.canonical_options import flattened, is_bridged_composition
from deepmd_dpa4.checkpoint.check_options import check_params
from deepmd_dpa4.checkpoint.count import Count, count, unique
from deepmd_dpa4.checkpoint.expected_tensors import layout
from deepmd_dpa4.checkpoint.model_kind import DPA4, architecture, dp, freeze_command
from deepmd_dpa4.checkpoint.options import SIGNATURE, is_dpa4, named, read_options, runs_here
from deepmd_dpa4.checkpoint.published import identify
from deepmd_dpa4.checkpoint.read import SINGLE, Checkpoint, read_checkpoint
from deepmd_dpa4.checkpoint.script import Script, read_script, read_tensor
from deepmd_dpa4.checkpoint.weights import weights_of
from deepmd_dpa4.config import ConfigError

Summary = dict[str, Any]

PLUGIN, BUILTIN = "deepmd-dpa4", "DeePMD-kit"
VERSIONS = {PLUGIN: "deepmd_dpa4", BUILTIN: "deepmd_kit", "torch": "torch"}
"""Programs that write files, and what this package calls their versions in them."""


def summarize(path: Path) -> Summary:
    """Describe a ``.pt``, ``.pth`` or ``.pt2`` file; nothing in it is run.

    Parameters
    ----------
    path : Path
        The file; its contents decide what it is.

    Returns
    -------
    dict
        ``file``, ``bytes``, ``kind``, ``known`` (the published model that it is), ``versions`` (of the programs that
        wrote it, where it tells), ``parameters`` (shared ones once), ``training`` (of a checkpoint), ``frozen``
        (``kernels`` and ``device`` of a frozen file), ``metadata`` (of a compiled file), ``uses`` and ``branches``; a
        branch has ``architecture``, ``type``, ``type_map``, ``runs_in``, ``official_only``, ``unknown``, ``changed``
        (null for other architectures than DPA4), ``options``, ``parameters``, ``shared`` (with which branches),
        ``bias`` in eV for each type, and more. What a file does not tell is null.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileError
        If it is not a model file, or damaged.
    """
    with open_archive(path) as archive:
        kind = archive.kind
        if kind == SCRIPT:
            summary = _of_script(archive, read_script(archive))
        elif kind == COMPILED:
            summary = _of_compiled(archive)
        else:
            summary = describe(read_checkpoint(path))
    known = identify(path)
    about = {
        "file": str(path),
        "bytes": path.stat().st_size,
        "kind": kind,
        "known": None if known is None else known.name,
    }
    return about | summary


def describe(checkpoint: Checkpoint) -> Summary:
    """Return all of :func:`summarize` but what concerns the file."""
    ours = {name: runs_here(params, checkpoint.branch_tensors(name)) for name, params in checkpoint.branches.items()}
    parameters = unique(checkpoint.tensors, all(ours.values()))
    branches = {}
    for name, params in checkpoint.branches.items():
        tensors = checkpoint.branch_tensors(name)
        own = unique(tensors, ours[name])
        bias = tensors.get("atomic_model.out_bias")
        branches[name] = _branch(params, tensors, {key: value.numel() for key, value in own.items()}) | {
            "shared": _shared(checkpoint, name, ours[name]),
            "bias": _bias(params["type_map"], bias),
            "rules": _number(tensors.get("atomic_model.descriptor.version_tensor")),
            "min_distance": _number(tensors.get("min_nbor_dist")),
            "dtype": _dtype(own.values()),
        }
    ema, weights = checkpoint.ema, weights_of(checkpoint)
    return {
        "versions": {PLUGIN: _written_by(checkpoint), BUILTIN: None, "torch": None},
        "parameters": asdict(count({key: value.numel() for key, value in parameters.items()})),
        "training": {
            "step": checkpoint.train_infos.get("step"),
            "lr": checkpoint.train_infos.get("lr"),
            "ema_decay": ema.get("decay") if ema else None,
            "ema": ema is not None,
            "averaged": weights.averaged,
            "warning": weights.warning,
            "optimizer": checkpoint.optimizer is not None,
        },
        "frozen": None,
        "metadata": {},
        "branches": branches,
        "uses": _uses(checkpoint),
    }


def _of_script(archive: Archive, script: Script) -> Summary:
    about = archive.json(ABOUT)
    params = about.get("model") or _parsed(archive, script.texts.get("model_def_script", ""))
    check_params(archive.path, params)
    names = _parameter_names(params, script)
    trained = {name: tensor for name, tensor in script.tensors.items() if name in names}
    bias = script.tensors.get("atomic_model.out_bias")
    rules = script.tensors.get("atomic_model.descriptor.version_tensor")
    branch = _branch(params, script.tensors, {name: tensor.count for name, tensor in trained.items()}) | {
        "shared": {},
        "bias": _bias(params["type_map"], None if bias is None else read_tensor(archive, bias)),
        "rules": None if rules is None else _number(read_tensor(archive, rules)),
        "min_distance": None,
        "dtype": _dtype(trained.values()),
    }
    native = about.get("kernels") == "native"
    where = "where the library of native kernels is" if native else "on any machine and device"
    uses = [f"Python, ASE and LAMMPS {where}", "dp --pt test -m FILE -s DATA", "dp --pt change-bias FILE -s DATA"]
    return _frozen(about, branch) | {"parameters": branch["parameters"], "uses": uses}


def _of_compiled(archive: Archive) -> Summary:
    metadata, about = archive.json("extra/metadata.json"), archive.json(ABOUT)
    script = archive.json("extra/model_def_script.json") or about.get("model")
    params = script or {"type_map": metadata.get("type_map")}
    check_params(archive.path, params)
    names = ("shared", "bias", "rules", "min_distance", "parameters")
    branch = _branch(params, {}, {}) | dict.fromkeys(names) | {"dtype": about.get("precision")}
    ranks = " or on several" if metadata.get("has_comm_artifact") else ""
    uses = [
        "Python and ASE on the kind of device it was frozen on",
        f"LAMMPS there, on one rank with `atom_modify map yes`{ranks}",
        "dp --pt test -m FILE -s DATA",
    ]
    return _frozen(about, branch) | {"parameters": None, "uses": uses, "metadata": metadata}


def _frozen(about: Mapping[str, Any], branch: Summary) -> Summary:
    """What both kinds of frozen files have in common; ``about`` is what this package writes into them."""
    return {
        "versions": {label: about.get(key) for label, key in VERSIONS.items()},
        "training": None,
        "frozen": {key: about.get(key) for key in ("kernels", "device")},
        "metadata": {},
        "branches": {SINGLE: branch},
    }


def _branch(params: Mapping[str, Any], tensors: Mapping[str, Any], sizes: Mapping[str, int]) -> Summary:
    if is_bridged_composition(params):
        params = flattened(params)
    base = {
        "architecture": architecture(params),
        "type": params.get("type"),
        "type_map": params["type_map"],
        "trained_on": (params.get("info") or {}).get("observed_type"),
        "aliases": params.get("model_branch_alias") or [],
        "parameters": asdict(count(sizes)) if sizes else asdict(Count(0, 0, 0)),
    }
    if not is_dpa4(params):
        sections = {where: params.get(where) or {} for where in ("descriptor", "fitting_net")}
        return base | {
            "runs_in": BUILTIN,
            "official_only": [],
            "unknown": [],
            "changed": None,
            "options": {where: named(section) for where, section in sections.items()},
        }
    options = read_options(params, tensors)
    return base | {
        "runs_in": BUILTIN if options.builtin_only else PLUGIN,
        "official_only": list(options.builtin_only),
        "unknown": list(options.unknown),
        "changed": options.changed,
        "options": {"model": options.model, "descriptor": options.descriptor, "fitting_net": options.fitting},
    }


def _parsed(archive: Archive, text: str) -> Any:
    """Options that a TorchScript file holds as text."""
    if not text:
        raise FileError(f"{archive.path} is not a model of DeePMD-kit: it has no `model_def_script`")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileError(f"{archive.path} is damaged: its `model_def_script` is not JSON") from error


def _parameter_names(params: Mapping[str, Any], script: Script) -> set[str]:
    """Names of trained tensors; a network that was kept fixed in training is told from its options only."""
    if runs_here(params, script.tensors):
        with contextlib.suppress(ConfigError):
            numbers = sum(tensor.count for tensor in script.tensors.values())
            return set(layout(params, numbers).parameters)
    return {name for name, tensor in script.tensors.items() if tensor.trainable}


def _shared(checkpoint: Checkpoint, branch: str, ours: bool) -> dict[str, list[str]]:
    """For each part of the network, the other branches that have the same one: all its parameters in one memory."""
    found = {}
    for part in ("descriptor", "fitting_net"):
        memory = {name: _memory(checkpoint, name, part, ours) for name in checkpoint.branches}
        others = [name for name in memory if name != branch and memory[branch] & memory[name]]
        if others:
            found[part] = others
    return found


def _memory(checkpoint: Checkpoint, branch: str, part: str, ours: bool) -> set[int]:
    tensors = unique(checkpoint.branch_tensors(branch), ours)
    return {value.untyped_storage().data_ptr() for name, value in tensors.items() if f".{part}." in name}


def _bias(type_map: list[str], bias: Tensor | None) -> dict[str, float] | None:
    """Energy bias of each type in eV."""
    if bias is None or bias.numel() != len(type_map):
        return None
    return dict(zip(map(str, type_map), bias.flatten().tolist(), strict=True))


def _number(value: Tensor | None) -> float | None:
    """A single finite number."""
    if value is None or value.numel() != 1 or not math.isfinite(float(value)):
        return None
    return float(value)


def _dtype(tensors: Any) -> str | None:
    """Precision of the network; a model may hold integers too."""
    names = (str(tensor.dtype).removeprefix("torch.") for tensor in tensors)
    return next((name for name in names if "float" in name), None)


def _written_by(checkpoint: Checkpoint) -> str | None:
    """Version of this package in whose presence the checkpoint was trained; DeePMD-kit writes none."""
    infos = [params.get("info") or {} for params in checkpoint.branches.values()]
    return next((str(info[SIGNATURE]) for info in infos if SIGNATURE in info), None)


def _uses(checkpoint: Checkpoint) -> list[str]:
    """Commands that take the checkpoint."""
    head = " --head BRANCH" if checkpoint.multi_task else ""
    branch = " --model-branch BRANCH" if checkpoint.multi_task else ""
    dpa4 = all(architecture(params) == DPA4 for params in checkpoint.branches.values())
    start = dp(checkpoint.tensors)
    restart = f"{start} train INPUT --restart FILE"
    if checkpoint.optimizer is None:
        restart = f"{start} train INPUT --init-model FILE: weights only, no optimizer state"
    return [
        restart,
        f"{start} train INPUT --finetune FILE{branch}",
        f"{start} test -m FILE{head} -s DATA",
        f"dpa4 freeze FILE -o model.pth{head}" if dpa4 else freeze_command("FILE", checkpoint.tensors) + head,
    ]
