"""The DPA4 that DeePMD-kit ships: for inputs this package does not cover, and as a reference in tests."""

import copy
import json
from typing import Any

import deepmd.pt.model.model as host_models

from deepmd_dpa4.type_names import BUILTIN, BUILTIN_FITTING, FITTING

# The builders as DeePMD-kit defines them, whatever their names are bound to later; absent before 3.2.
_get_model = getattr(host_models, "get_sezm_model", None)
_get_spin_model = getattr(host_models, "get_sezm_spin_model", None)


def available() -> bool:
    """Whether this DeePMD-kit ships a DPA4."""
    return _get_model is not None


def build(model_params: dict[str, Any]) -> Any:
    """Model of the official implementation.

    The official classes keep the names ``sezm`` and ``sezm_ener`` in the registries of DeePMD-kit, whoever owns
    ``dpa4``.

    Parameters
    ----------
    model_params : dict
        The ``model`` section of an input; not changed.
    """
    builder = _get_spin_model if "spin" in model_params else _get_model
    if builder is None:
        raise RuntimeError("this version of DeePMD-kit ships no DPA4 of its own")
    params = copy.deepcopy(model_params)
    params.setdefault("descriptor", {})["type"] = BUILTIN
    fitting = params.setdefault("fitting_net", {})
    if fitting.get("type", FITTING) == FITTING:
        fitting["type"] = BUILTIN_FITTING
    model = builder(params)
    model.model_def_script = json.dumps(model_params)
    return model
