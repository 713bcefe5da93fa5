"""``model`` section of an input to a model, ours or, where we lack an option, the built-in one."""

import copy
import json
import logging
from collections.abc import Mapping
from typing import Any

from deepmd_dpa4 import __version__
from deepmd_dpa4.checkpoint.options import SIGNATURE
from deepmd_dpa4.checkpoint.weights import DECAY, DEFAULT_DECAY
from deepmd_dpa4.config import BridgingConfig, ConfigError, UnsupportedOption
from deepmd_dpa4.config.check import ASKED_FOR, check_model, sections
from deepmd_dpa4.config.model import ExecutionConfig, LowRankConfig, TrainingConfig
from deepmd_dpa4.config.parse import parse_group
from deepmd_dpa4.config.plugin_only import check_builtin
from deepmd_dpa4.host import builtin
from deepmd_dpa4.host.compat import READS_CHARGE_SPIN, VERSION, trains_lora
from deepmd_dpa4.host.descriptor import DescriptorDPA4
from deepmd_dpa4.host.fitting import FittingDPA4
from deepmd_dpa4.host.kernels import backend_for, in_words, overridden, use_compile
from deepmd_dpa4.host.lora import LowRankPlan
from deepmd_dpa4.host.model import ModelDPA4
from deepmd_dpa4.host.statistics import preset_bias
from deepmd_dpa4.ops.backends import backend_of
from deepmd_dpa4.type_names import BUILTIN, NEUTRAL, SHARED_NAMES

log = logging.getLogger("deepmd.dpa4")


def build_model(model_params: dict[str, Any]) -> Any:
    """Build a DPA4 energy model.

    An input that asks for something only the built-in DPA4 has is handed to it, with one warning that
    names the option; so does a descriptor of type ``sezm``, without a warning.

    Parameters
    ----------
    model_params : dict
        The ``model`` section; not changed. ``descriptor`` and ``fitting_net`` may be left out.

    Raises
    ------
    ConfigError
        If an option is wrong, or only the built-in DPA4 has it and is not there.
    """
    params = copy.deepcopy(model_params)
    params.setdefault("descriptor", {})
    params.setdefault("fitting_net", {})
    if params["descriptor"].get("type") == BUILTIN and builtin.available():
        return _builtin(model_params, ASKED_FOR)
    try:
        check_model(params)
        model = _build_ours(params)
    except UnsupportedOption as reason:
        if not builtin.available():
            message = f"{reason}. DeePMD-kit {VERSION} has no built-in DPA4 to hand this model to, 3.2 has"
            raise UnsupportedOption(message) from None
        check_builtin(model_params, str(reason))
        log.warning("%s. Handing this model to the built-in DPA4.", reason)
        return _builtin(model_params, str(reason))
    model.model_def_script = json.dumps(model_params)
    if not overridden():
        kernels = in_words(backend_of(model))
        log.info("model type %s is built by deepmd-dpa4 %s, %s", model_params.get("type"), __version__, kernels)
    return model


class RegisteredDPA4(ModelDPA4):
    """The class in the registry of DeePMD-kit, which asks it for the model of a ``model`` section."""

    @classmethod
    def get_model(cls, model_params: dict[str, Any]) -> Any:
        """Build the model, as :func:`build_model`."""
        return build_model(model_params)


def stamp_version(config: dict[str, Any]) -> None:
    """Note in the sections of a training input that we build models of what its checkpoints should keep.

    These are our version, and the decay of averaged weights, which the files that hold such weights do not tell.
    """
    model, training = config["model"], config.get("training", {})
    for section in model.get("model_dict", {"": model}).values():
        if str(section.get("type")) in (*SHARED_NAMES, NEUTRAL):
            info = section.setdefault("info", {})
            info[SIGNATURE] = __version__
            info.pop(DECAY, None)
            if training.get("enable_ema"):
                info[DECAY] = float(training.get("ema_decay", DEFAULT_DECAY))


def warn_of_descriptors(model: Mapping[str, Any]) -> None:
    """Warn of models around a DPA4 descriptor whose own type is left out: DeePMD-kit makes them of its own parts."""
    for where, section in sections(model).items():
        kind = dict(section.get("descriptor") or {}).get("type")
        if section.get("type", "standard") == "standard" and kind in (*SHARED_NAMES, NEUTRAL):
            log.warning(
                "`%s/type` is left out, so DeePMD-kit builds a model of its own around the descriptor %r, without this "
                'package: write `"type": "dpa4"` into `%s`, and `"fitting_net": {}`, for DPA4',
                where,
                kind,
                where,
            )


def _builtin(model_params: dict[str, Any], reason: str) -> Any:
    check_builtin(model_params, reason)
    log.info("model type %s is built by DeePMD-kit's built-in DPA4: %s", model_params.get("type"), reason)
    return builtin.build(model_params)


def _build_ours(params: dict[str, Any]) -> ModelDPA4:
    type_map = params["type_map"]
    bridging = parse_group(BridgingConfig, params, "model")
    execution = parse_group(ExecutionConfig, params, "model")
    section = {key: value for key, value in params["descriptor"].items() if key != "type"}
    excluded = _excluded_pairs(params, section)
    section["exclude_types"] = excluded
    descriptor = DescriptorDPA4(ntypes=len(type_map), type_map=type_map, bridging=bridging, **section)
    if descriptor.add_chg_spin_ebd and not READS_CHARGE_SPIN:
        raise ConfigError(
            f"`model/descriptor/add_chg_spin_ebd` is true but must be false with DeePMD-kit {VERSION}, which does not "
            "read `charge_spin` from data sets; 3.2 does"
        )
    descriptor.training_config = parse_group(TrainingConfig, params, "model")
    if params.get("lora") is not None:
        descriptor.low_rank = LowRankPlan(_low_rank(params["lora"]))
    fitting_section = {key: value for key, value in params["fitting_net"].items() if key != "type"}
    fitting = FittingDPA4(
        ntypes=len(type_map), dim_descrpt=descriptor.get_dim_out(), type_map=type_map, **fitting_section
    )
    if fitting.vacuum_ref and params.get("preset_out_bias") is None:
        log.warning(
            "`fitting_net/vacuum_ref` is true without effect: there is no `preset_out_bias`, the energies of isolated "
            "atoms that it refers to"
        )
    backend = backend_for(execution.kernels, descriptor.config.common.precision, descriptor.has_native_precision())
    return ModelDPA4(
        descriptor=descriptor,
        fitting=fitting,
        type_map=type_map,
        atom_exclude_types=list(params.get("atom_exclude_types") or []),
        pair_exclude_types=excluded,
        rcond=fitting.config.rcond,
        preset_out_bias=preset_bias(params.get("preset_out_bias"), type_map),
        data_stat_protect=params.get("data_stat_protect", 1e-2),
        execution=execution,
        backend=backend,
        compiled=use_compile(execution.use_compile, backend),
        model_type_name=str(params.get("type", NEUTRAL)),
    )


def _low_rank(section: dict[str, Any]) -> LowRankConfig:
    """Options of low-rank fine-tuning.

    Raises
    ------
    ConfigError
        If an option is wrong, or this version of DeePMD-kit has no trainer for it.
    """
    if not trains_lora():
        raise ConfigError(
            f"`model/lora` is {section} but must be null: the trainer of this DeePMD-kit does not know it"
        )
    config: LowRankConfig = parse_group(LowRankConfig, section, "model/lora")
    return config


def _excluded_pairs(params: dict[str, Any], section: dict[str, Any]) -> list[list[int]]:
    """Exclusions of the model or of the descriptor, which have to agree if both are given."""
    of_descriptor = [list(pair) for pair in section.get("exclude_types") or []]
    of_model = [list(pair) for pair in params.get("pair_exclude_types") or []]
    if of_descriptor and of_model and of_descriptor != of_model:
        raise ConfigError(
            f"`model/descriptor/exclude_types` is {of_descriptor} but `model/pair_exclude_types` is {of_model}; "
            "give one of them or the same twice"
        )
    return of_descriptor or of_model
