"""All options of the models of an input, before anything is built or measured: errors name the branch too."""

from collections.abc import Mapping
from typing import Any

from deepmd_dpa4.config.elements import covalent_radii
from deepmd_dpa4.config.model import BridgingConfig, ExecutionConfig, LowRankConfig, TrainingConfig
from deepmd_dpa4.config.newer import check_builtin
from deepmd_dpa4.config.option import ConfigError, UnsupportedOption, require
from deepmd_dpa4.config.parse import parse_descriptor, parse_fitting, parse_group
from deepmd_dpa4.type_names import BUILTIN, FITTING, FITTING_NAMES, NEUTRAL, SHARED_NAMES

ASKED_FOR = "the input asks for it"
OTHER_BRIDGING = ("bridging_fraction_inner", "bridging_fraction_outer")
"""Options of zone bridging in versions of DeePMD-kit that this package does not follow."""


def check_models(model: Mapping[str, Any], fresh: bool = False) -> None:
    """Check the ``model`` section of a training input, of one model or of all branches.

    Models of other types are left alone, and so are those with an option that only the built-in DPA4 has.

    Parameters
    ----------
    model : mapping
        The section, in which every branch spells what it shares.
    fresh : bool
        Whether the options belong to this type map, and do not come from a checkpoint with another one.

    Raises
    ------
    ConfigError
        If an option is unknown or has a value that is not allowed.
    """
    branches = model.get("model_dict")
    if branches is None:
        branches, start = {"": model}, "model"
    else:
        start = "model/model_dict/"
    for name, section in branches.items():
        if section.get("type") not in (*SHARED_NAMES, NEUTRAL):
            continue
        where = start + name
        if _type(section, "descriptor") == BUILTIN:
            check_builtin(section, ASKED_FOR, where)
            continue
        try:
            check_model(section, where)
        except UnsupportedOption as reason:
            check_builtin(section, str(reason), where)
            continue
        if fresh:
            check_sel(section, where)
        codes = _mapping(section.get("fitting_net")).get("dim_case_embd") or 0
        if 0 < codes < len(branches):
            raise ConfigError(
                f"`{where}/fitting_net/dim_case_embd` is {codes} but must be 0 or at least {len(branches)}, the number "
                "of branches"
            )
    check_references(branches, start)


def check_references(branches: Mapping[str, Any], start: str) -> None:
    """Check that some branch has the energies of isolated atoms that the network refers to; raises ConfigError."""
    referred = [name for name, section in branches.items() if _mapping(section.get("fitting_net")).get("vacuum_ref")]
    if referred and all(branches[name].get("preset_out_bias") is None for name in referred):
        where = start + referred[0]
        raise ConfigError(
            f"`{where}/fitting_net/vacuum_ref` is True but needs `{where}/preset_out_bias`: the energies of isolated "
            "atoms, in eV; a bias that is fitted to data is none"
        )


def check_model(section: Mapping[str, Any], where: str = "model") -> None:
    """Check the options of one model, each and together.

    Parameters
    ----------
    section : mapping
        Type map, descriptor, fitting net and options of the model.
    where : str
        Path of the section in the input, for messages.

    Raises
    ------
    ConfigError
        As :func:`check_models`; UnsupportedOption, a kind of it, if only the built-in DPA4 has an option.
    """
    if "spin" in section:
        raise UnsupportedOption(f"`{where}/spin` is given: deepmd-dpa4 has no magnetic model")
    kind = _type(section, "fitting_net") or FITTING
    if kind not in FITTING_NAMES:
        raise UnsupportedOption(f"`{where}/fitting_net/type` is {kind!r}: deepmd-dpa4 fits energies, {FITTING!r}")
    descriptor = parse_descriptor(_options(section.get("descriptor")), f"{where}/descriptor")
    parse_fitting(_options(section.get("fitting_net")), f"{where}/fitting_net")
    bridging = parse_group(BridgingConfig, section, where)
    parse_group(ExecutionConfig, section, where)
    parse_group(TrainingConfig, section, where)
    if section.get("lora") is not None:
        parse_group(LowRankConfig, section["lora"], f"{where}/lora")
    if bridging.enabled:
        check_bridging(section, descriptor.geometry.rcut, bridging, where)


def check_bridging(section: Mapping[str, Any], rcut: float, bridging: BridgingConfig, where: str = "model") -> None:
    """Check the distances of zone bridging of a model; raises :class:`ConfigError`."""
    for key in OTHER_BRIDGING:
        require(
            section.get(key) is None,
            f"{where}/{key}",
            section.get(key),
            "must be left out: it belongs to the zone bridging of a DPA4 after DeePMD-kit 3.2, which is another "
            "function than that of 3.2 and of deepmd-dpa4",
        )
    largest = 1.0
    if bridging.in_contacts:
        largest = 2 * max(covalent_radii(section["type_map"], where), default=0.5)
    outer = bridging.bridging_r_outer * largest
    require(
        outer < rcut if bridging.bridging_smooth else outer <= rcut,
        f"{where}/bridging_r_outer",
        bridging.bridging_r_outer,
        f"must {'be below' if bridging.bridging_smooth else 'not exceed'} `descriptor/rcut` = {rcut:g}"
        + (f": it stands for up to {outer:.2f} Angstrom" if bridging.in_contacts else ""),
    )


def check_sel(section: Mapping[str, Any], where: str = "model") -> None:
    """Check that a list of numbers of neighbours has one for all types or one for each; raises :class:`ConfigError`."""
    sel, types = _mapping(section.get("descriptor")).get("sel"), len(section["type_map"])
    require(
        not isinstance(sel, list) or len(sel) in (1, types),
        f"{where}/descriptor/sel",
        sel,
        f"must hold one number, or one for each of the {types} types",
    )


def _type(section: Mapping[str, Any], part: str) -> str | None:
    return _mapping(section.get(part)).get("type")


def _mapping(section: Any) -> Mapping[str, Any]:
    """A section as it is, empty if it is left out, or the name of a shared one."""
    return section if isinstance(section, Mapping) else {}


def _options(section: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in _mapping(section).items() if key != "type" and not key.startswith("_")}
