"""Low-rank fine-tuning (``model/lora``) in DeePMD-kit's trainer and checkpoints.

The trainer loads a checkpoint into a model first and asks for the updates then. A checkpoint of such a training is
therefore folded when it is loaded, which is all that inference, freezing and fine-tuning need; a training that goes on
takes its factors up again.
"""

import logging
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from deepmd_dpa4.config.model import LowRankConfig
from deepmd_dpa4.descriptor.low_rank import adapt, is_adapted
from deepmd_dpa4.host.compat import VERSION, trains_lora
from deepmd_dpa4.nn.low_rank import SCALING, fold

log = logging.getLogger("deepmd.dpa4")


@dataclass
class LowRankPlan:
    """What a model is to be trained with.

    Parameters
    ----------
    config : LowRankConfig
        Options.
    loaded : dict[str, Tensor]
        Factors, scalings and frozen weights of the checkpoint that was loaded, by key in the descriptor.
    """

    config: LowRankConfig
    loaded: dict[str, Tensor] = field(default_factory=dict)


def fold_on_loading(model: nn.Module) -> None:
    """Let ``model`` load checkpoints of low-rank trainings, as long as it has no updates itself."""
    model.register_load_state_dict_pre_hook(_fold)


def _fold(model: Any, state: MutableMapping[str, Tensor], prefix: str, *_: Any) -> None:
    descriptor = model.atomic_model.descriptor
    if is_adapted(descriptor):
        return
    start = f"{prefix}atomic_model.descriptor."
    before = {key[len(start) :]: value for key, value in fold(state, start).items()}
    if descriptor.low_rank is not None:
        descriptor.low_rank.loaded = before


def adapt_descriptor(descriptor: Any) -> None:
    """Add the updates that the options ask for, with the factors of the checkpoint if they fit, else fresh ones."""
    plan: LowRankPlan | None = descriptor.low_rank
    if plan is None or is_adapted(descriptor):
        return
    adapt(descriptor, plan.config, descriptor.config.common.seed)
    if not plan.loaded:
        return
    own = {**dict(descriptor.named_parameters()), **dict(descriptor.named_buffers())}
    if _continues(plan, own):
        with torch.no_grad():
            for key, value in plan.loaded.items():
                own[key].copy_(value)
    else:
        log.info("`model/lora` differs from that of the checkpoint, whose updates are folded into the weights")
    plan.loaded = {}


def _continues(plan: LowRankPlan, own: dict[str, Tensor]) -> bool:
    """Whether the loaded factors are of this rank and scaling."""
    shapes = all(key in own and own[key].shape == value.shape for key, value in plan.loaded.items())
    scalings = [float(value) for key, value in plan.loaded.items() if key.endswith(SCALING)]
    return shapes and all(abs(scaling - plan.config.scaling) < 1e-6 for scaling in scalings)


def applying(host_apply: Callable[..., None], ours: type) -> Callable[..., None]:
    """Answer the trainer's request for updates, which says rank and alpha again, for both implementations."""

    def apply(model: Any, **options: Any) -> None:
        if isinstance(model, ours):
            adapt_descriptor(model.atomic_model.descriptor)  # type: ignore[attr-defined]
        else:
            host_apply(model, **options)

    return apply


def merging(host_merge: Callable[..., dict[str, Tensor]]) -> Callable[..., dict[str, Tensor]]:
    """Answer the trainer's request for a state without updates, for models of either implementation."""

    def merge(module: nn.Module, state_dict: dict[str, Tensor] | None = None, **options: Any) -> dict[str, Tensor]:
        if not is_adapted(module):
            return host_merge(module, state_dict=state_dict, **options)
        state = dict(module.state_dict()) if state_dict is None else state_dict
        fold(state)
        return state

    return merge


def check_host(config: dict[str, Any]) -> None:
    """Refuse ``lora`` where DeePMD-kit's trainer does not know it and would silently train all weights.

    Raises
    ------
    ValueError
        If a model of the input asks for it in DeePMD-kit 3.1.
    """
    model = config["model"]
    for section in model.get("model_dict", {"": model}).values():
        if section.get("lora") is not None and not trains_lora():
            raise ValueError(
                f"`model/lora` is given but DeePMD-kit {VERSION} does not train low-rank updates, 3.2 does"
            )


def check_branches(trainer: Any, config: dict[str, Any]) -> None:
    """Refuse a multi-task training whose branches would silently be trained without the updates asked for.

    Raises
    ------
    ValueError
        If a branch has ``lora`` but its descriptor is not shared, or it runs in the built-in DPA4.
    """
    for name, section in config["model"].get("model_dict", {}).items():
        if section.get("lora") is not None and not is_adapted(trainer.model[name]):
            raise ValueError(
                f"`model/model_dict/{name}/lora` is {section['lora']} but in multi-task training it needs a descriptor "
                "of deepmd-dpa4 that the branches share as a whole"
            )
