"""Whether an input is one that ``dp --pt train`` takes, before any data are read."""

import copy
from typing import Any

from deepmd_dpa4.config.check import check_input, check_models
from deepmd_dpa4.schema import refusal

SHARED = ("type_map", "descriptor", "fitting_net")


def check(document: dict[str, Any]) -> None:
    """Check all names of options, their types, and the values of those of DPA4.

    Raises
    ------
    ValueError
        If DeePMD-kit or this package would refuse the input, or if it says something that nobody would read.
    """
    document = copy.deepcopy(document)
    branches = "model_dict" in document["model"]
    if branches:
        document["model"] = expanded(document["model"])
        _check_branches(document)
    check_input(document)
    reason = refusal(document, branches)
    if reason is not None:
        raise ValueError(f"DeePMD-kit refuses the input: {reason}")
    check_models(document["model"], fresh=True)


def expanded(model: dict[str, Any]) -> dict[str, Any]:
    """Rewrite a multi-task model so that every branch spells what it shares.

    Raises
    ------
    ValueError
        If the model has an entry that no branch uses.
    """
    shared, branches = model.get("shared_dict", {}), model["model_dict"]
    for key in model:
        if key in SHARED and all(key in branch for branch in branches.values()):
            raise ValueError(f"`model.{key}` would not be read: `model.shared_dict.{key}` holds it for all branches")
    named = {branch.get(key) for branch in branches.values() for key in SHARED if isinstance(branch.get(key), str)}
    for key in shared:
        if key not in named and not key.startswith("_"):
            raise ValueError(f"`model.shared_dict.{key}` would not be read: no branch names it")
    common = {key: value for key, value in model.items() if key not in ("shared_dict", "model_dict")}
    return {
        "model_dict": {
            name: common | {key: _resolved(key, value, shared) for key, value in branch.items()}
            for name, branch in branches.items()
        }
    }


def _check_branches(document: dict[str, Any]) -> None:
    names, training = set(document["model"]["model_dict"]), document["training"]
    for place, section in {
        "loss_dict": document.get("loss_dict", {}),
        "training.data_dict": training.get("data_dict", {}),
        "training.model_prob": training.get("model_prob", {}),
    }.items():
        for key in section:
            if key not in names:
                raise ValueError(f"`{place}.{key}` would not be read: the branches are {', '.join(sorted(names))}")


def _resolved(key: str, value: Any, shared: dict[str, Any]) -> Any:
    return copy.deepcopy(shared.get(value, value)) if key in SHARED and isinstance(value, str) else value
