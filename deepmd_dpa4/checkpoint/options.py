"""Which options a model was made with, and which implementation has them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from deepmd_dpa4.config import BridgingConfig, DescriptorConfig, FittingConfig
from deepmd_dpa4.config.model import ExecutionConfig, LowRankConfig, TrainingConfig
from deepmd_dpa4.config.parse import ALIASES, OFFICIAL_ONLY_DESCRIPTOR, OFFICIAL_ONLY_FITTING
from deepmd_dpa4.type_names import FITTING_NAMES, MODEL_NAMES

Section = dict[str, Any]

PLUGIN_MODEL = ("kernels", "activation_memory", "radial_optimizer", "bridging_unit", "bridging_end")
"""Options of the model that only this package has."""
PLUGIN_FITTING = ("bias_out", "vacuum_ref")
"""Options of the fitting net that the input checks of the built-in DPA4 do not know; its network has the first."""

SIGNATURE = "deepmd_dpa4"
"""Key in ``info`` of a model: version of this package under which it was trained."""
MODEL_DEFAULTS: Section = {
    "data_stat_nbatch": 10,
    "data_stat_protect": 0.01,
    "data_bias_nsample": 10,
    "pair_exclude_types": [],
    "atom_exclude_types": [],
    "preset_out_bias": None,
    "srtab_add_bias": True,
    "model_branch_alias": [],
    "info": {},
    "lora": None,
}
"""Options that DeePMD-kit writes into every model."""
MODEL_OTHERS = (
    "finetune_head",
    "hessian_mode",
    "compress",
    "modifier",
    "type_embedding",
    "use_srtab",
    "smin_alpha",
    "sw_rmin",
    "sw_rmax",
)
"""Options that DeePMD-kit knows and writes only where they are given."""


@dataclass(frozen=True)
class ModelOptions:
    """Options of one model by section, sorted.

    Parameters
    ----------
    model, descriptor, fitting : dict
        All options, by their present names, defaults filled in.
    changed : dict
        Those that differ from the default, as ``section/option``.
    builtin_only : tuple of str
        What only the built-in DPA4 has, as ``section/option`` and value; such a model runs there.
    unknown : tuple of str
        Names that neither implementation knows.
    """

    model: Section
    descriptor: Section
    fitting: Section
    changed: Section
    builtin_only: tuple[str, ...]
    unknown: tuple[str, ...]


def is_dpa4(params: Mapping[str, Any]) -> bool:
    """Tell whether a ``model`` section is one of DPA4, by its type."""
    return str(params.get("type", "")).lower() in MODEL_NAMES


def runs_here(params: Mapping[str, Any], tensors: Iterable[str]) -> bool:
    """Tell whether this package builds a model: one of DPA4 without options that only the built-in DPA4 has."""
    return is_dpa4(params) and not read_options(params, tensors).builtin_only


def read_options(params: Mapping[str, Any], tensors: Iterable[str] = ()) -> ModelOptions:
    """Sort the options of a ``model`` section.

    Parameters
    ----------
    params : mapping
        The section; ``descriptor`` and ``fitting_net`` may be missing.
    tensors : iterable of str
        Names of the tensors of the model, which alone tell about a denoising head.
    """
    energy = _type(params, "fitting_net", FITTING_NAMES[0]).lower() in FITTING_NAMES
    sections = {
        "model": ({key: value for key, value in params.items() if key not in _STRUCTURE}, _model_defaults()),
        "descriptor": (named(params.get("descriptor")), DescriptorConfig().flat()),
        "fitting_net": (named(params.get("fitting_net")), _defaults(FittingConfig) if energy else {}),
    }
    neutral = {"model": dict.fromkeys(MODEL_OTHERS, (None, False)), **_neutral(energy)}
    full: dict[str, Section] = {}
    changed: Section = {}
    unknown: list[str] = []
    for where, (given, defaults) in sections.items():
        full[where] = defaults | given
        known = defaults | {key: values[0] for key, values in neutral[where].items()}
        if where == "fitting_net" and not energy:
            known = dict.fromkeys(given)
        unknown += [f"{where}/{key}" for key in given if key not in known]
        changed |= {
            f"{where}/{key}": value
            for key, value in given.items()
            if key in known and key not in _FREE and not same_value(value, known[key])
        }
    updates = full["model"]["lora"]
    if isinstance(updates, Mapping):
        unknown += [f"model/lora/{key}" for key in updates if key not in _defaults(LowRankConfig)]
    return ModelOptions(
        full["model"],
        full["descriptor"],
        full["fitting_net"],
        changed,
        tuple(_builtin_only(params, full, energy, tensors)),
        tuple(unknown),
    )


_STRUCTURE = ("type", "type_map", "descriptor", "fitting_net", "spin")
_FREE = ("info", "model_branch_alias")


def _builtin_only(
    params: Mapping[str, Any], full: Mapping[str, Section], energy: bool, tensors: Iterable[str]
) -> list[str]:
    """Options that this package hands to the built-in DPA4, as ``name = value``."""
    reasons = []
    if params.get("spin") is not None:
        reasons.append("model/spin")
    if not energy:
        reasons.append(f"fitting_net/type = {_type(params, 'fitting_net', '')}")
    if any(".dens_fitting_net." in name for name in tensors):
        reasons.append("loss/type = dens")
    descriptor = full["descriptor"]
    schedule = descriptor.get("l_schedule")
    if schedule == [] or (schedule is None and descriptor.get("n_blocks") == 0):
        reasons.append("descriptor/n_blocks = 0")
    for where, table in _neutral(energy).items():
        given = full[where]
        reasons += [
            f"{where}/{key} = {given[key]}"
            for key, values in table.items()
            if key in given and given[key] not in values
        ]
    return reasons


def _neutral(energy: bool) -> dict[str, Mapping[str, tuple[Any, ...]]]:
    """Return the values that switch options of the built-in DPA4 off; other quantities have options of their own."""
    return {"descriptor": OFFICIAL_ONLY_DESCRIPTOR, "fitting_net": OFFICIAL_ONLY_FITTING if energy else {}}


def named(section: Any) -> Section:
    """Return a section without its type, options by their present names."""
    return {ALIASES.get(key, key): value for key, value in (section or {}).items() if key != "type"}


def _type(params: Mapping[str, Any], section: str, default: str) -> str:
    return str((params.get(section) or {}).get("type", default))


def _model_defaults() -> Section:
    return MODEL_DEFAULTS | _defaults(BridgingConfig) | _defaults(ExecutionConfig) | _defaults(TrainingConfig)


def _defaults(group: type) -> Section:
    return {item.name: _plain(item.default) for item in fields(group)}


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def same_value(value: Any, default: Any) -> bool:
    """Tell whether two values of an option mean the same; texts are compared without regard to case."""
    if isinstance(value, str) and isinstance(default, str):
        return value.lower() == default.lower()
    return bool(_plain(value) == _plain(default))
