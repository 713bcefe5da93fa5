"""Options in the one spelling that both implementations read the same way."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deepmd_dpa4.checkpoint.options import (
    PLUGIN_FITTING,
    PLUGIN_MODEL,
    ModelOptions,
    Section,
    is_dpa4,
    read_options,
)
from deepmd_dpa4.config import ConfigError, UnsupportedOption
from deepmd_dpa4.config.parse import ALIASES
from deepmd_dpa4.config.plugin_only import newer_values
from deepmd_dpa4.type_names import DESCRIPTOR_NAMES, FITTING_NAMES

BUILTIN, PLUGIN = "official", "plugin"


@dataclass(frozen=True)
class Normalized:
    """A ``model`` section for one implementation.

    Parameters
    ----------
    params : dict
        With every option spelled out.
    notes : tuple of str
        What differs from the section it comes from.
    options : ModelOptions
        The same options, sorted.
    """

    params: Section
    notes: tuple[str, ...]
    options: ModelOptions


def normalize(params: Mapping[str, Any], to: str, tensors: Mapping[str, Any]) -> Normalized:
    """Write the options of a model for one implementation.

    Parameters
    ----------
    params : mapping
        The ``model`` section of one branch.
    to : str
        ``official`` or ``plugin``.
    tensors : mapping
        Tensors of the branch by name, which tell about a denoising head.

    Raises
    ------
    ConfigError
        If the model is not one of DPA4, or an option is unknown to both implementations.
    UnsupportedOption
        If only the built-in DPA4 has an option, and ``to`` is ``plugin``, or the built-in DPA4 does not know a value,
        and ``to`` is ``official``.
    """
    notes = []
    if is_bridged_composition(params):
        params = flattened(params)
        notes.append("`linear_ener` of a network and a short-range potential is now `bridging_method`")
    if not is_dpa4(params):
        raise ConfigError(f"`model/type` is {params.get('type')!r} but must be one of {', '.join(DESCRIPTOR_NAMES)}")
    options = read_options(params, tensors)
    if options.unknown:
        raise ConfigError(f"`{'`, `'.join(options.unknown)}`: neither implementation has this option")
    if options.builtin_only and to == PLUGIN:
        raise UnsupportedOption(
            f"`{'`, `'.join(options.builtin_only)}`: only DeePMD-kit's built-in DPA4 has this option; the model "
            "runs there as it is"
        )
    newer = newer_values(params) if to == BUILTIN else []
    if newer:
        raise UnsupportedOption(
            f"{', '.join(newer)} but the built-in DPA4 of DeePMD-kit 3.2.0 has no such value: the model runs here only"
        )
    written = _written(params, options, to)
    notes += _differences(params, written)
    return Normalized(written, tuple(notes), options)


def is_bridged_composition(params: Mapping[str, Any]) -> bool:
    """Tell whether a section is a sum of DPA4 and a short-range potential, another spelling of zone bridging."""
    parts = [part for part in params.get("models") or [] if isinstance(part, dict)]
    return str(params.get("type")).lower() == "linear_ener" and any(
        part.get("type") == "inner_potential" for part in parts
    )


def flattened(params: Mapping[str, Any]) -> Section:
    """Rewrite such a section as one model with the option ``bridging_method``.

    Raises
    ------
    ConfigError
        If the sum is not one of a single DPA4 network and a single short-range potential.
    """
    inner = [part for part in params["models"] if part.get("type") == "inner_potential"]
    learned = [part for part in params["models"] if part.get("type") != "inner_potential"]
    if len(inner) != 1 or len(learned) != 1 or params.get("weights") != "sum" or not is_dpa4(learned[0]):
        raise ConfigError("`model/models` must be the sum of one DPA4 network and one `inner_potential`")
    own = {key: value for key, value in params.items() if key not in ("models", "weights", "type")}
    return {
        **own,
        **learned[0],
        **{key: own[key] for key in ("type_map", "atom_exclude_types", "pair_exclude_types") if key in own},
        "type": DESCRIPTOR_NAMES[0],
        "bridging_method": inner[0].get("mode", "zbl"),
        "bridging_r_inner": inner[0].get("r_inner", 0.5),
        "bridging_r_outer": inner[0].get("r_outer", 0.8),
    }


def shared_sections(sections: Mapping[str, Any]) -> Section:
    """Rewrite the section ``shared_dict`` of a multi-task input, with the names that both implementations know."""
    result: Section = {}
    for name, section in sections.items():
        kind = str(section.get("type", "")).lower() if isinstance(section, dict) else ""
        names = next((names for names in (DESCRIPTOR_NAMES, FITTING_NAMES) if kind in names), None)
        result[name] = section if names is None else {**section, "type": names[0]}
    return result


def _written(params: Mapping[str, Any], options: ModelOptions, to: str) -> Section:
    energy = not any(reason.startswith("fitting_net/type") for reason in options.builtin_only)
    fitting_type = FITTING_NAMES[0] if energy else params["fitting_net"]["type"]
    fitting, model = dict(options.fitting), dict(options.model)
    if to == BUILTIN:
        for key in PLUGIN_MODEL:
            model.pop(key, None)
        for key in PLUGIN_FITTING:
            if fitting.get(key) is False:
                del fitting[key]
    descriptor = dict(options.descriptor)
    # the built-in DPA4 refuses a list that is given in one place and empty in the other
    pairs = descriptor["exclude_types"] or model["pair_exclude_types"]
    descriptor["exclude_types"] = model["pair_exclude_types"] = pairs
    spin = {"spin": params["spin"]} if params.get("spin") is not None else {}
    return {
        "type": DESCRIPTOR_NAMES[0],
        "type_map": params["type_map"],
        "descriptor": {"type": DESCRIPTOR_NAMES[0], **descriptor},
        "fitting_net": {"type": fitting_type, **fitting},
        **model,
        **spin,
    }


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    notes = []
    for where in ("model", "descriptor", "fitting_net"):
        old = before if where == "model" else before.get(where)
        new = after if where == "model" else after[where]
        if old is None:
            notes.append(f"`{where}` was left out and is spelled out")
            old = {}
        if old.get("type") not in (None, new["type"]):
            notes.append(f"`{where}/type` {old['type']} is called {new['type']}")
        renamed = {key: ALIASES[key] for key in old if key in ALIASES}
        notes += [f"`{where}/{key}` is called `{name}`" for key, name in renamed.items()]
        removed = [key for key in old if key not in new and key not in renamed]
        notes += [f"`{where}/{key}` = {old[key]} is left out" for key in removed]
        added = sum(key not in old and key not in renamed.values() and key not in _SECTIONS for key in new)
        if added and old:
            notes.append(f"{added} defaults of `{where}` are spelled out")
    return notes


_SECTIONS = ("descriptor", "fitting_net")
