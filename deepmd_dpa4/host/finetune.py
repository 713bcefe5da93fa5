"""Options of the checkpoint that a fine-tuning starts from.

Of these DeePMD-kit's ``--use-pretrain-script`` takes the descriptor and the fitting net, with indices of types in the
order of the checkpoint. What else makes the function of the weights, such as the repulsion of nuclei, it leaves out.
"""

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from deepmd.utils.finetune import map_atom_exclude_types, map_pair_exclude_types

from deepmd_dpa4.checkpoint.options import Section, is_dpa4, read_options, runs_here, same_value
from deepmd_dpa4.checkpoint.read import read_params
from deepmd_dpa4.config import BridgingConfig, ConfigError
from deepmd_dpa4.config.check import sections
from deepmd_dpa4.host.changed_options import changes_function, differences
from deepmd_dpa4.host.loading import examined
from deepmd_dpa4.host.resume import check_architecture

log = logging.getLogger("deepmd.dpa4")

CARRIED = ("pair_exclude_types", "atom_exclude_types", *(item.name for item in fields(BridgingConfig)))
"""Options of the model, beside descriptor and fitting net, that no weight shows."""


def carrying_options(read: Callable[..., Any]) -> Callable[..., Any]:
    """Make DeePMD-kit's rules for fine-tuning keep the function of the checkpoint, or warn where it changes.

    The callable takes a checkpoint, the ``model`` section, ``model_branch`` and ``change_model_params``, which is
    whether ``--use-pretrain-script`` is given; it returns the section and the rules of each branch. It is the first to
    read the checkpoint, and refuses a damaged one, and one whose weights cannot start a DPA4.
    """

    @functools.wraps(read)
    def read_rules(checkpoint: str, model: Any, *args: Any, **more: Any) -> Any:
        examined(Path(checkpoint))
        check_architecture("--finetune", checkpoint, model)
        given = {place: dict(section) for place, section in sections(model).items()}
        changed, links = read(checkpoint, model, *args, **more)
        takes_script = args[1] if len(args) > 1 else more.get("change_model_params", True)
        stored = read_params(Path(checkpoint))
        for place, section in sections(changed).items():
            link = links[place.rpartition("/")[2] if "model_dict" in changed else next(iter(links))]
            source = stored["model_dict"][link.get_model_branch()] if "model_dict" in stored else stored
            if is_dpa4(section) and is_dpa4(source):
                source = in_order(source, section["type_map"])
                if takes_script:
                    take(place, section, given[place], source)
                compare(place, section, source, checkpoint, fitting=not link.get_random_fitting())
        return changed, links

    return read_rules


def in_order(params: Mapping[str, Any], type_map: Sequence[str]) -> Section:
    """Return a ``model`` section whose excluded types are counted in another type map, without those it lacks."""
    old = list(params["type_map"])
    remap = [old.index(name) if name in old else -1 for name in type_map]

    def pairs(section: Mapping[str, Any], key: str) -> list[list[int]]:
        return [list(pair) for pair in map_pair_exclude_types(section.get(key) or [], remap)]

    descriptor = dict(params.get("descriptor") or {})
    return {
        **params,
        "descriptor": descriptor | {"exclude_types": pairs(descriptor, "exclude_types")},
        "pair_exclude_types": pairs(params, "pair_exclude_types"),
        "atom_exclude_types": map_atom_exclude_types(params.get("atom_exclude_types") or [], remap),
    }


def take(place: str, section: Section, given: Section, source: Section) -> None:
    """Take the options of the checkpoint into a section that does not give them itself."""
    if section["descriptor"].get("exclude_types"):
        section["descriptor"]["exclude_types"] = source["descriptor"]["exclude_types"]
    defaults = read_options({"type": section["type"]}).model
    taken = {
        key: source[key]
        for key in CARRIED
        if key not in given and key in source and not same_value(source[key], defaults[key])
    }
    section.update(taken)
    if taken:
        listed = ", ".join(f"{key} {value!r}" for key, value in taken.items())
        log.info("`%s` takes from the checkpoint too: %s", place, listed)


def compare(place: str, section: Section, source: Section, checkpoint: str, fitting: bool) -> None:
    """Warn of options with which the weights of the checkpoint make another function.

    Raises
    ------
    ConfigError
        If the fitting net of the checkpoint knows no branches and the one of the input does.
    """
    codes, before = ((one.get("fitting_net") or {}).get("dim_case_embd") or 0 for one in (section, source))
    if fitting and codes and not before:
        raise ConfigError(
            f"`{place}/fitting_net/dim_case_embd` is {codes} but must be 0 with the fitting net of {checkpoint}, which "
            "has no codes of branches; `finetune_head` = 'RANDOM' begins with a new fitting net"
        )
    if not runs_here(section, ()) or not runs_here(source, ()):
        return
    found = [
        f"{place}/{name} {old!r} -> {new!r}"
        for name, (old, new) in differences(source, section).items()
        if changes_function(name.rpartition("/")[2], old, new) and (fitting or not name.startswith("fitting_net/"))
    ]
    if found:
        log.warning("options differ from %s, whose weights now make another function: %s", checkpoint, ", ".join(found))
