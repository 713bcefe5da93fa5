"""Losses of a training input: our models have energies, forces and virials."""

import logging
from collections.abc import Iterator
from typing import Any

from deepmd_dpa4.host import builtin
from deepmd_dpa4.type_names import BUILTIN, NEUTRAL, SHARED_NAMES

log = logging.getLogger("deepmd.dpa4")

LOSSES = ("ener", "ener_spin")
"""The second is that of magnetic models, which only the built-in DPA4 has."""


def check_loss(loss_type: str) -> None:
    """Refuse losses that need another head.

    Raises
    ------
    ValueError
        If the loss is not one of energies, forces and virials.
    """
    if loss_type not in LOSSES:
        raise ValueError(f"`loss/type` is {loss_type!r} but this DPA4 model has energies, forces and virials only")


def resolve_loss(config: dict[str, Any]) -> None:
    """Decide about the losses of our models before the models are built.

    Asks for the built-in DPA4 where the loss is ``dens``, which needs a head that only the built-in model
    has. Without a built-in DPA4 other losses are refused here, since such a DeePMD-kit does not tell the
    model what the loss is.

    Parameters
    ----------
    config : dict
        The complete input; changed.

    Raises
    ------
    ValueError
        As :func:`check_loss`.
    """
    for section, loss in sections(config):
        if not builtin.available():
            check_loss(loss)
        elif loss == "dens" and section["type"] in SHARED_NAMES:
            log.warning("`loss/type` is 'dens': handing this model to the built-in DPA4.")
            section.setdefault("descriptor", {})["type"] = BUILTIN


def sections(config: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the ``model`` section of each of our models, one for each task, and the type of its loss."""
    model = config["model"]
    losses = config.get("loss_dict") or {"": config.get("loss", {})}
    for name, section in model.get("model_dict", {"": model}).items():
        if section.get("type") in (*SHARED_NAMES, NEUTRAL):
            yield section, losses.get(name, {}).get("type", "ener")
