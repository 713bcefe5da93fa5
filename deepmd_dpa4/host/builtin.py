"""The DPA4 that DeePMD-kit ships: for inputs this package does not cover, and as a reference in tests."""

import copy
import json
from typing import Any

from deepmd_dpa4.host.compat import BUILD_BUILTIN, BUILD_BUILTIN_SPIN
from deepmd_dpa4.type_names import BUILTIN, BUILTIN_FITTING, FITTING


def available() -> bool:
    """Tell whether this DeePMD-kit has a built-in DPA4."""
    return BUILD_BUILTIN is not None


def build(model_params: dict[str, Any]) -> Any:
    """Build a model of the built-in DPA4.

    The built-in classes keep the names ``sezm`` and ``sezm_ener`` in the registries of DeePMD-kit, whoever owns
    ``dpa4``.

    Parameters
    ----------
    model_params : dict
        The ``model`` section of an input; not changed.
    """
    builder = BUILD_BUILTIN_SPIN if "spin" in model_params else BUILD_BUILTIN
    if builder is None:
        raise RuntimeError("this version of DeePMD-kit has no built-in DPA4")
    params = copy.deepcopy(model_params)
    params.setdefault("descriptor", {})["type"] = BUILTIN
    fitting = params.setdefault("fitting_net", {})
    if fitting.get("type", FITTING) == FITTING:
        fitting["type"] = BUILTIN_FITTING
    model = builder(params)
    model.model_def_script = json.dumps(model_params)
    return model
