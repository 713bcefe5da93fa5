"""All options of the models of an input, before anything is built or measured: errors name the branch too."""

from collections.abc import Mapping
from typing import Any

from deepmd_dpa4.config.check_training import check_branches, check_numbers
from deepmd_dpa4.config.elements import ELEMENTS, covalent_radii
from deepmd_dpa4.config.model import BridgingConfig, ExecutionConfig, LowRankConfig, TrainingConfig
from deepmd_dpa4.config.option import ConfigError, UnsupportedOption, require
from deepmd_dpa4.config.parse import parse_descriptor, parse_fitting, parse_group
from deepmd_dpa4.config.plugin_only import check_builtin
from deepmd_dpa4.type_names import BUILTIN, FITTING, FITTING_NAMES, NEUTRAL, SHARED_NAMES, mentions_ours

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
    branches, lengths = sections(model), dict[str, int]()
    for where, section in branches.items():
        if section.get("type") not in (*SHARED_NAMES, NEUTRAL):
            continue
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
        lengths[where] = codes
    for where, codes in lengths.items():
        first = next(iter(lengths))
        require(
            codes == lengths[first],
            f"{where}/fitting_net/dim_case_embd",
            codes,
            f"must be {lengths[first]}, as in `{first}`",
        )

    check_references(branches)


def check_references(branches: Mapping[str, Any]) -> None:
    """Check that some branch has the energies of isolated atoms that the network refers to; raises ConfigError."""
    referred = [where for where, section in branches.items() if _mapping(section.get("fitting_net")).get("vacuum_ref")]
    if referred and all(branches[where].get("preset_out_bias") is None for where in referred):
        raise ConfigError(
            f"`{referred[0]}/fitting_net/vacuum_ref` is True but needs `{referred[0]}/preset_out_bias`: the energies "
            "of isolated atoms, in eV; a bias that is fitted to data is none"
        )


def check_input(config: Mapping[str, Any]) -> None:
    """Check models and numbers of a training input as a user wrote it, if it has a model of ours.

    Raises
    ------
    ConfigError
        As :func:`check_models`, :func:`check_branches` and :func:`check_numbers`.
    """
    model = config.get("model")
    if isinstance(model, Mapping) and mentions_ours(model):
        check_models(model)
        check_branches(config)
        check_numbers(config)


def check_shared(model: Mapping[str, Any]) -> None:
    """Check that the sections that branches take from ``shared_dict`` are there; raises :class:`ConfigError`."""
    shared = _mapping(model.get("shared_dict"))
    if not mentions_ours(model):
        return
    require(
        "RANDOM" not in model["model_dict"], "model/model_dict", list(model["model_dict"]), "must not hold 'RANDOM'"
    )
    for where, section in sections(model).items():
        for part in ("type_map", "descriptor", "fitting_net"):
            name = _mapping(section).get(part)
            allowed = ", ".join(key for key in shared if not key.startswith("_"))
            require(
                not isinstance(name, str) or name.partition(":")[0] in shared,
                f"{where}/{part}",
                name,
                f"must be one of {allowed} in `model/shared_dict`, or be written out",
            )


def sections(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``model`` section of each branch by its path in the input."""
    if "model_dict" not in model:
        return {"model": model}
    return {f"model/model_dict/{name}": section for name, section in model["model_dict"].items()}


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
    for part in ("descriptor", "fitting_net", "lora"):
        given = section.get(part)
        require(isinstance(given, Mapping | None), f"{where}/{part}", given, "must be a section of options, {...}")
    check_type_map(section, where)
    descriptor = parse_descriptor(_options(section.get("descriptor")), f"{where}/descriptor")
    parse_fitting(_options(section.get("fitting_net")), f"{where}/fitting_net")
    bridging = parse_group(BridgingConfig, section, where)
    parse_group(ExecutionConfig, section, where)
    parse_group(TrainingConfig, section, where)
    if section.get("lora") is not None:
        parse_group(LowRankConfig, section["lora"], f"{where}/lora")
    if bridging.enabled:
        for name in section["type_map"]:
            require(
                name in ELEMENTS,
                f"{where}/type_map",
                section["type_map"],
                f"must hold symbols of chemical elements with `bridging_method`, unlike {name!r}",
            )
        check_bridging(section, descriptor.geometry.rcut, bridging, where)
    check_exclusions(section, where)


def check_type_map(section: Mapping[str, Any], where: str) -> None:
    """Check that types have names, and as many types as names; raises :class:`ConfigError`."""
    names = section.get("type_map")
    named = isinstance(names, list) and len(names) > 0 and all(isinstance(name, str) for name in names)
    require(named, f"{where}/type_map", names, 'must be the list of elements, such as ["O", "H"]')


def check_exclusions(section: Mapping[str, Any], where: str) -> None:
    """Check that excluded pairs and atoms are types that there are; raises :class:`ConfigError`."""
    ntypes = len(section["type_map"])
    places = {
        f"{where}/descriptor/exclude_types": _mapping(section.get("descriptor")).get("exclude_types"),
        f"{where}/pair_exclude_types": section.get("pair_exclude_types"),
    }
    for place, pairs in places.items():
        require(isinstance(pairs, list | tuple | None), place, pairs, "must be a list of pairs of type indices")
        for pair in pairs or []:
            if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(_is_type(t, ntypes) for t in pair):
                raise ConfigError(f"`{place}` holds {pair} but each entry must be two type indices below {ntypes}")
    atoms, place = section.get("atom_exclude_types"), f"{where}/atom_exclude_types"
    require(isinstance(atoms, list | tuple | None), place, atoms, "must be a list of type indices")
    for index in atoms or []:
        if not _is_type(index, ntypes):
            raise ConfigError(f"`{place}` holds {index!r} but must hold type indices below {ntypes}")


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
        outer < rcut if bridging.bridging_end == "cutoff" else outer <= rcut,
        f"{where}/bridging_r_outer",
        bridging.bridging_r_outer,
        f"must {'be below' if bridging.bridging_end == 'cutoff' else 'not exceed'} `descriptor/rcut` = {rcut:g}"
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


def _is_type(index: Any, ntypes: int) -> bool:
    return isinstance(index, int) and not isinstance(index, bool) and 0 <= index < ntypes


def _type(section: Mapping[str, Any], part: str) -> str | None:
    return _mapping(section.get(part)).get("type")


def _mapping(section: Any) -> Mapping[str, Any]:
    """A section as it is, empty if it is left out, or the name of a shared one."""
    return section if isinstance(section, Mapping) else {}


def _options(section: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in _mapping(section).items() if key != "type" and not key.startswith("_")}
