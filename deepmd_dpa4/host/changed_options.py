"""Options of a training that goes on from a checkpoint, compared with those that the checkpoint was trained with.

DeePMD-kit loads the weights and compares nothing: another order of elements exchanges them, and an option that no
weight depends on, such as the cutoff, makes another function of the same weights.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepmd_dpa4.checkpoint.archive import ABOUT, open_archive
from deepmd_dpa4.checkpoint.options import MODEL_OTHERS, Section, read_options, runs_here, same_value
from deepmd_dpa4.checkpoint.read import read_params
from deepmd_dpa4.config import ConfigError
from deepmd_dpa4.config.check import sections
from deepmd_dpa4.config.descriptor import basis_family
from deepmd_dpa4.config.parse import OFFICIAL_ONLY_DESCRIPTOR, OFFICIAL_ONLY_FITTING
from deepmd_dpa4.host.loading import examined, is_frozen_by_us
from deepmd_dpa4.type_names import mentions_ours

log = logging.getLogger("deepmd.dpa4")

SILENT = frozenset(
    {
        "sel",
        "seed",
        "use_env_seed",
        "kernels",
        "use_compile",
        "activation_memory",
        "enable_tf32",
        "info",
        "model_branch_alias",
    }
)
"""Options without effect on a model that is there already: hints, seeds, how to run."""
TRAINING = frozenset(
    {
        "trainable",
        "use_amp",
        "radial_optimizer",
        "data_stat_nbatch",
        "data_stat_protect",
        "data_bias_nsample",
        "rcond",
        "preset_out_bias",
    }
)
"""Options that change how a model is trained and not what it predicts from its weights."""
OWN_RULES = frozenset({"lora"})
"""Options whose change is provided for, and told, elsewhere."""
BUILTIN_ONLY = frozenset({*OFFICIAL_ONLY_DESCRIPTOR, *OFFICIAL_ONLY_FITTING, *MODEL_OTHERS})
"""Options that a model that runs here has with their neutral value only, whether spelled out or not."""


def check_options(config: dict[str, Any], start: str | None, restart: bool) -> None:
    """Compare the models of ours in a training input with those of the file that it goes on from.

    Parameters
    ----------
    config : dict
        The complete input.
    start : str, optional
        File that ``--restart``, ``--init-model`` or ``--init-frz-model`` names.
    restart : bool
        Whether it was ``--restart``, which promises to go on with the same model.

    Raises
    ------
    ConfigError
        If a type map differs, or with ``--restart`` any option that changes what the network computes or is trained.
    """
    params = None if start is None else stored_in(Path(start))
    if start is None or params is None:
        return
    given, stored = sections(config["model"]), sections(params)
    warned: list[str] = []
    refused: list[str] = []
    for place in [place for place in given if place in stored and mentions_ours(given[place])]:
        check_type_map(place, given[place], stored[place], start)
        if not runs_here(given[place], ()) or not runs_here(stored[place], ()):
            continue
        for name, (before, after) in differences(stored[place], given[place]).items():
            network = changes_function(name.rpartition("/")[2], before, after)
            (refused if network and restart else warned).append(f"{place}/{name} {before!r} -> {after!r}")
        updates = [section.get("lora") for section in (stored[place], given[place])]
        if restart and not same_value(*updates):
            refused.append(f"{place}/lora {updates[0]!r} -> {updates[1]!r}")
    if refused:
        raise ConfigError(
            f"options differ from {start}, which `--restart` goes on with: {', '.join(refused)}; give those of "
            "the checkpoint, or take its weights for a new training by `--init-model`"
        )
    if warned:
        log.warning("options differ from the checkpoint: %s", ", ".join(warned))


def stored_in(path: Path) -> Section | None:
    """Read the ``model`` section of a checkpoint or frozen file; None of what is not ours, or says none."""
    if path.suffix == ".pth":
        if not is_frozen_by_us(path):
            return None
        with open_archive(path) as archive:
            return archive.json(ABOUT).get("model")
    return read_params(path) if examined(path) else None


def check_type_map(place: str, given: Section, stored: Section, checkpoint: str) -> None:
    """Refuse another type map; weights belong to positions in it."""
    if list(given.get("type_map") or []) != list(stored.get("type_map") or []):
        raise ConfigError(
            f"`{place}/type_map` is {given.get('type_map')} but must be {stored.get('type_map')}, as in {checkpoint}, "
            "because weights belong to positions: repeat it (data may keep their own order), or use `--finetune`, "
            "which sorts the weights"
        )


def differences(before: Section, after: Section) -> dict[str, tuple[Any, Any]]:
    """Find options, as ``section/option``, that differ with defaults filled in and have an effect."""
    old, new = flat(before), flat(after)
    found = {name: (old.get(name), new.get(name)) for name in sorted({*old, *new})}
    return {name: values for name, values in found.items() if not same_value(*values)}


def changes_function(option: str, before: Any, after: Any) -> bool:
    """Tell whether another value of an option makes another function of the same weights."""
    if option == "basis_type":
        return basis_family(str(before)) != basis_family(str(after))
    return option not in TRAINING


def flat(params: Mapping[str, Any]) -> Section:
    """Write the options of a model into one level, ``descriptor/rcut`` and so on; one place for excluded pairs."""
    options = read_options(params)
    descriptor, model = dict(options.descriptor), dict(options.model)
    model["pair_exclude_types"] = descriptor.pop("exclude_types") or model["pair_exclude_types"]
    parts = {"": model, "descriptor/": descriptor, "fitting_net/": options.fitting}
    skipped = SILENT | OWN_RULES | BUILTIN_ONLY
    return {
        f"{part}{key}": value for part, section in parts.items() for key, value in section.items() if key not in skipped
    }
