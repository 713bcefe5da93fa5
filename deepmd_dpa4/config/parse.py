"""Flat section of an input file -> configuration groups, with the offending key named in every error."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from deepmd_dpa4.config.descriptor import DescriptorConfig
from deepmd_dpa4.config.fitting import FittingConfig
from deepmd_dpa4.config.option import ConfigError, UnsupportedOption, naming

# Options of the official implementation that exist here only with their neutral value.
OFFICIAL_ONLY_DESCRIPTOR: dict[str, tuple[Any, ...]] = {
    "edge_cartesian": (False,),
    "node_cartesian": ("none", 0),
    "extra_node_l": (0,),
    "so2_norm": (False,),
    "so2_attn_res": ("none",),
    "full_attn_res": ("none",),
    "block_attn_res": ("none",),
    "atten_f_mix": (False,),
    "atten_v_proj": (False,),
    "atten_o_proj": (False,),
    "layer_scale": (False,),
    "node_wise_s2": (False,),
    "node_wise_so3": (False,),
    "message_node_s2": (False,),
}
OFFICIAL_ONLY_FITTING: dict[str, tuple[Any, ...]] = {
    "atom_ener": ([], None),
    "layer_name": (None, []),
    "use_aparam_as_mask": (False,),
}
WORDS: dict[Any, tuple[str, str]] = {
    bool: ("true or false", "true and false"),
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    str: ("a string", "strings"),
    NoneType: ("null", "null"),
}
"""Names of types in JSON."""
CLOSE = 0.75
"""Likeness from which a name counts as a misspelt one; `rcut_smth` and `rcut` have 0.6."""
ALIASES = {"so2_layers": "mixing_layers", "n_neuron": "neuron"}


def parse_descriptor(section: Mapping[str, Any], where: str = "model/descriptor") -> DescriptorConfig:
    """Read a ``descriptor`` section.

    Parameters
    ----------
    section : mapping
        Options.
    where : str
        Its path in the input, for messages.

    Raises
    ------
    UnsupportedOption
        If an option is used that only the official implementation provides.
    ConfigError
        If a key is unknown or a value is not allowed.
    """
    with naming(where):
        return _descriptor(section)


def _descriptor(section: Mapping[str, Any]) -> DescriptorConfig:
    rest = _without_official_only(section, OFFICIAL_ONLY_DESCRIPTOR)
    if (rest.get("n_blocks") == 0 and rest.get("l_schedule") is None) or rest.get("l_schedule") == []:
        raise UnsupportedOption("`n_blocks` is 0: a network without blocks is not available in deepmd-dpa4")
    groups: dict[str, dict[str, Any]] = {}
    owner = {item.name: (part.name, hint) for part, hint, item in _descriptor_fields()}
    _check_known(rest, owner)
    for key, value in rest.items():
        part, hint = owner[key]
        groups.setdefault(part, {})[key] = _coerce(value, hint, key)
    types = get_type_hints(DescriptorConfig)
    return DescriptorConfig(**{part: types[part](**values) for part, values in groups.items()})


def parse_fitting(section: Mapping[str, Any], where: str = "model/fitting_net") -> FittingConfig:
    """Read a ``fitting_net`` section; as :func:`parse_descriptor`."""
    hints = get_type_hints(FittingConfig)
    with naming(where):
        rest = _without_official_only(section, OFFICIAL_ONLY_FITTING)
        _check_known(rest, hints)
        return FittingConfig(**{key: _coerce(value, hints[key], key) for key, value in rest.items()})


def parse_group(group: type, section: Mapping[str, Any], where: str) -> Any:
    """Read the keys of one dataclass from a section that also holds others."""
    hints = get_type_hints(group)
    given = {key: section[key] for key in hints if section.get(key) is not None}
    with naming(where):
        return group(**{key: _coerce(value, hints[key], key) for key, value in given.items()})


def _descriptor_fields() -> list[tuple[Any, Any, Any]]:
    rows = []
    for part in fields(DescriptorConfig):
        assert is_dataclass(part.type)
        hints = get_type_hints(part.type)
        rows += [(part, hints[item.name], item) for item in fields(part.type)]
    return rows


def _without_official_only(section: Mapping[str, Any], neutral: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
    """Drop options at their neutral value; refuse any other value by name."""
    rest = {}
    for raw, value in section.items():
        key = ALIASES.get(raw, raw)
        allowed = neutral.get(key, ())
        if not allowed:
            rest[key] = value
        elif value not in allowed:
            raise UnsupportedOption(
                f"`{key}` is {value!r}: deepmd-dpa4 provides only {allowed[0]!r}; "
                "the official implementation of DeePMD-kit has this option"
            )
    return rest


class _Mismatch(Exception):
    """A value, or an entry of a list, has another type."""


def _coerce(value: Any, hint: Any, key: str) -> Any:
    """Check ``value`` against a type hint; lists become tuples, integers are accepted for floats, which are finite."""
    try:
        return _converted(value, hint)
    except _Mismatch:
        raise ConfigError(f"`{key}` is {value!r} but must be {_describe(hint)}") from None
    except OverflowError:
        raise ConfigError(f"`{key}` is {value!r} but must be finite") from None


def _converted(value: Any, hint: Any) -> Any:
    choices = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    for choice in choices:
        if choice is NoneType and value is None:
            return None
        if get_origin(choice) is tuple and isinstance(value, list | tuple):
            inner = get_args(choice)
            kinds = (inner[0],) * len(value) if len(inner) == 2 and inner[1] is Ellipsis else inner
            if len(kinds) == len(value):
                return tuple(_converted(item, kind) for item, kind in zip(value, kinds, strict=True))
        if choice is float and isinstance(value, int | float) and not isinstance(value, bool):
            # JSON as Python reads it knows NaN and Infinity
            if not math.isfinite(value):
                raise OverflowError
            return float(value)
        if choice is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        if choice in (bool, str) and isinstance(value, choice):
            return value
    raise _Mismatch


def _describe(hint: Any, several: bool = False) -> str:
    """A type in the words of JSON, in the singular with its article or in the plural."""
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_describe(choice, several) for choice in get_args(hint))
    if get_origin(hint) is tuple:
        return f"{'lists' if several else 'a list'} of {_describe(get_args(hint)[0], several=True)}"
    return WORDS[hint][several]


def _check_known(section: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Refuse names that are no options, all at once; raises ConfigError."""
    unknown = [key for key in section if key not in known]
    if not unknown:
        return
    first, *others = unknown
    if others:
        hint = f", and neither {'are' if others[1:] else 'is'} {', '.join(f'`{key}`' for key in others)}"
    else:
        near = difflib.get_close_matches(first, list(known), n=1, cutoff=CLOSE)
        hint = f"; did you mean `{near[0]}`?" if near else ""
    raise ConfigError(f"`{first}` is not an option of DPA4{hint}")
