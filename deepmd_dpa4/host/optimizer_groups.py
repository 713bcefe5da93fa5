"""Which matrices the optimizer HybridMuon updates with AdamW (``model/radial_optimizer``).

Muon makes every update orthogonal, so each row of a matrix moves at the same rate, also one that reads the radial basis
where no data are. AdamW moves a row by its own gradients.
"""

import logging
from typing import Any

from torch import nn

from deepmd_dpa4.config import ConfigError
from deepmd_dpa4.host.compat import name_parameters
from deepmd_dpa4.host.descriptor import DescriptorDPA4

log = logging.getLogger("deepmd.dpa4")

ROUTED, BY_SHAPE = "HybridMuon", "AdaMuon"
"""Optimizers that are told the names of parameters, and that treat every matrix alike by Muon."""


def radial_inputs(descriptor: DescriptorDPA4) -> list[nn.Parameter]:
    """List the matrices that read the radial basis: of the radial network and of the environment seed."""
    layers = [descriptor.radial_embedding.net[0]]
    if descriptor.env_seed_embedding is not None:
        layers.append(descriptor.env_seed_embedding.rbf_proj_layer1)
    return [layer.matrix for layer in layers]  # type: ignore[misc]


def route(trainer: Any) -> None:
    """Tell the optimizer of a trainer which matrices of our models AdamW updates.

    HybridMuon asks for names, which it gets for this purpose alone: those of checkpoints stay, and its state is kept by
    position.

    Raises
    ------
    ConfigError
        If ``radial_optimizer`` asks for what the optimizer cannot do, or differs between branches that share a network.
    """
    wanted: dict[int, bool] = {}
    for place, descriptor in descriptors(trainer):
        config = descriptor.training_config
        adamw = config.radial_adamw(descriptor.config.geometry.fixed_basis)
        if trainer.opt_type == BY_SHAPE and config.radial_optimizer == "adamw":
            raise ConfigError(
                f"`{place}/radial_optimizer` is 'adamw' but `optimizer/type` is {BY_SHAPE!r}, which updates all "
                f"matrices alike, and must be {ROUTED!r}"
            )
        for matrix in radial_inputs(descriptor):
            if wanted.setdefault(id(matrix), adamw) != adamw:
                raise ConfigError(
                    f"`{place}/radial_optimizer` is {config.radial_optimizer!r} but must be the same as in the branch "
                    "that the descriptor is shared with"
                )
    if trainer.opt_type != ROUTED or not any(wanted.values()):
        return
    named = [
        (by_adamw(name) if wanted.get(id(parameter)) else name, parameter)
        for name, parameter in trainer.wrapper.named_parameters()
    ]
    # with sharded states the optimizer is inside of another one
    name_parameters(getattr(trainer.optimizer, "optim", trainer.optimizer), named)
    log.info("AdamW updates the matrices that read the radial basis")


def by_adamw(name: str) -> str:
    """Change the last part of a name into one that stands for AdamW."""
    start, dot, last = name.rpartition(".")
    return f"{start}{dot}adamw_{last}"


def descriptors(trainer: Any) -> list[tuple[str, DescriptorDPA4]]:
    """List the descriptors of ours in all branches, with the path of the model in the input."""
    branches = trainer.model if trainer.multi_task else {"": trainer.model}
    return [
        (f"model/model_dict/{name}" if trainer.multi_task else "model", part)
        for name, model in branches.items()
        for part in model.modules()
        if isinstance(part, DescriptorDPA4)
    ]
