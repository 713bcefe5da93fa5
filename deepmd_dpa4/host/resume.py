"""Checkpoints that a training goes on from."""

import functools
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from deepmd_dpa4.checkpoint.newest import NoCheckpoint, newest
from deepmd_dpa4.checkpoint.read import load_mapped, read_params
from deepmd_dpa4.config import ConfigError
from deepmd_dpa4.config.check import sections
from deepmd_dpa4.host.loading import examined
from deepmd_dpa4.type_names import BUILTIN, mentions_ours

log = logging.getLogger("deepmd.dpa4")
SUFFIXED = ("init_model", "restart")
"""Options to whose values DeePMD-kit adds ``.pt``."""
OPTIONS = (*SUFFIXED, "finetune", "init_frz_model")
STATES = {"muon_mode": ("HybridMuon",), "amsgrad": ("Adam", "AdamW")}
"""Optimizers by an option that they save with their state."""


def found_first(train: Callable[..., Any]) -> Callable[..., Any]:
    """Make ``dp --pt train`` look for the checkpoint that it starts from before it does anything else.

    A folder of a training stands for its newest checkpoint. The callable raises :class:`NoCheckpoint` if there is none.
    """

    @functools.wraps(train)
    def train_from_files(*args: Any, **options: Any) -> Any:
        named = {name: options[name] for name in OPTIONS if options.get(name) is not None}
        return train(*args, **options | {name: file_of(name, value) for name, value in named.items()})

    return train_from_files


def file_of(name: str, value: str) -> str:
    """Find the file that an option names; a folder stands for its newest checkpoint, which is no frozen file."""
    option = f"--{name.replace('_', '-')}"
    path = Path(value) if name == "init_frz_model" else newest(Path(value), option)
    if name in SUFFIXED and path.suffix != ".pt":
        path = Path(f"{path}.pt")
    if not path.is_file():
        raise NoCheckpoint(f"`{option}` is {value} but there is no such file; see `dp pretrained` for released models")
    return str(path)


def check_architecture(option: str, checkpoint: str | None, model: Mapping[str, Any]) -> None:
    """Compare the kind of the models in an input with that of a checkpoint.

    Raises
    ------
    ConfigError
        If the input has a model of ours and the checkpoint no DPA4.
    """
    if checkpoint is None or not mentions_ours(model):
        return
    stored = read_params(Path(checkpoint))
    kinds = {kind_of(section) for section in sections(stored).values()}
    if not mentions_ours(stored) and BUILTIN not in kinds:
        raise ConfigError(
            f"`{option}` is {checkpoint}, which holds {' and '.join(sorted(kinds))}: its weights cannot start a DPA4; "
            f"give a checkpoint of a DPA4, or train without `{option}`"
        )


def check_optimizer(config: Mapping[str, Any], checkpoint: str | None) -> None:
    """Compare the optimizer of an input with the state in the checkpoint of ``--restart``.

    Raises
    ------
    ConfigError
        If one is HybridMuon and the other is Adam or AdamW; these two may follow each other.
    """
    if checkpoint is None or not mentions_ours(config["model"]):
        return
    groups = (load_mapped(checkpoint).get("optimizer") or {}).get("param_groups") or [{}]
    stored = next((kinds for key, kinds in STATES.items() if key in groups[0]), None)
    wanted = str((config.get("optimizer") or {}).get("type", "Adam"))
    if stored and wanted not in stored and any(wanted in kinds for kinds in STATES.values()):
        allowed = " or ".join(map(repr, stored))
        raise ConfigError(
            f"`optimizer/type` is {wanted!r} but must be {allowed}, whose state is in {checkpoint}; `--init-model` "
            "takes its weights for a new training"
        )


def kind_of(section: Mapping[str, Any]) -> str:
    """Name the architecture of a ``model`` section."""
    descriptor = section.get("descriptor")
    found = descriptor.get("type") if isinstance(descriptor, Mapping) else section.get("type")
    return str(found or "another model")


@contextmanager
def resumable(checkpoint: str | None) -> Iterator[str | None]:
    """Give the path of a checkpoint in a form that DeePMD-kit's trainer reads.

    The trainer fails on files that hold weights under ``model`` and no ``optimizer``, as released models and averaged
    weights do; it takes the bare weights, with a fresh optimizer.

    Parameters
    ----------
    checkpoint : str, optional
        File that ``--restart`` or ``--init-model`` names.
    """
    if checkpoint is None or not examined(Path(checkpoint)):
        yield checkpoint
        return
    content = load_mapped(checkpoint)
    if "model" not in content or "optimizer" in content:
        yield checkpoint
        return
    log.info("%s holds no state of the optimizer, which starts afresh", checkpoint)
    with tempfile.TemporaryDirectory(prefix="dpa4-") as folder:
        bare = Path(folder) / Path(checkpoint).name
        torch.save(content["model"], bare)
        yield str(bare)
