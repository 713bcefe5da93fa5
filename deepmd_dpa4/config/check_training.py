"""Numbers of a training that DeePMD-kit takes from an input without a look, or refuses without their name."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from deepmd_dpa4.config.option import require

Rule = tuple[Callable[[Any], bool], str]

BATCH = re.compile(r"auto(:[1-9]\d*)?|(max|filter|mixed):[1-9]\d*")
"""Words for the size of a batch."""
SHARES = re.compile(r"prob_uniform|prob_sys_size(;\d+:\d+:[\d.]+)*")
"""Words for the shares of folders of data."""


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _batch(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_count, value))
    return _count(value) or (isinstance(value, str) and BATCH.fullmatch(value) is not None)


POSITIVE: Rule = (lambda value: _number(value) and value > 0, "must be a positive number")
NOT_NEGATIVE: Rule = (lambda value: _number(value) and value >= 0, "must be a finite number and not negative")
SHARE_OF_ALL: Rule = (lambda value: _number(value) and 0 < value <= 1, "must be a number above 0, 1 at most")
COUNT: Rule = (_count, "must be an integer of at least 1")
BATCH_SIZE: Rule = (
    _batch,
    'must be a positive integer, a list of them, or one of "auto", "auto:N", "max:N", "filter:N", "mixed:N"',
)
SHARE: Rule = (
    lambda value: isinstance(value, str) and SHARES.fullmatch(value) is not None,
    'must be "prob_uniform", "prob_sys_size" or "prob_sys_size;FIRST:LAST:SHARE;..."',
)
SEED: Rule = (
    lambda value: all(map(_whole, value)) if isinstance(value, list) else _whole(value),
    "must be an integer, not negative, or a list of them",
)
TRAINING: dict[str, Rule] = {
    "numb_steps": NOT_NEGATIVE,
    "disp_freq": COUNT,
    "save_freq": NOT_NEGATIVE,
    "gradient_max_norm": NOT_NEGATIVE,
    "seed": SEED,
}
MODEL: dict[str, Rule] = {
    "data_stat_nbatch": COUNT,
    "data_bias_nsample": COUNT,
    "data_stat_protect": POSITIVE,
    "descriptor/seed": SEED,
    "fitting_net/seed": SEED,
}
LEARNING_RATE: dict[str, Rule] = {
    "start_lr": POSITIVE,
    "stop_lr": NOT_NEGATIVE,
    "stop_lr_ratio": SHARE_OF_ALL,
    "decay_steps": COUNT,
    "decay_rate": POSITIVE,
    "decay_phase_ratio": SHARE_OF_ALL,
    "warmup_steps": (_whole, "must be an integer, not negative"),
    "warmup_ratio": (lambda value: _number(value) and 0 <= value < 1, "must be a number from 0 to below 1"),
    "warmup_start_factor": NOT_NEGATIVE,
}
PREFACTOR = re.compile(r"(start|limit)_pref_\w+")


def check_numbers(config: Mapping[str, Any]) -> None:
    """Check steps, learning rate, warm-up, statistics, seeds, batch sizes, prefactors of losses and shares of branches.

    Parameters
    ----------
    config : mapping
        The input; options that are left out are not looked at.

    Raises
    ------
    ConfigError
        Names the path of the option, the value, and what is allowed.
    """
    for place, value, (allowed, rule) in _numbers(config):
        require(value is None or allowed(value), place, value, rule)
    rate = _section(config, "learning_rate")
    first, last = rate.get("start_lr"), rate.get("stop_lr")
    if first is not None and last is not None:
        require(last <= first, "learning_rate/stop_lr", last, f"must not exceed `learning_rate/start_lr` = {first:g}")
    warmup, steps = rate.get("warmup_steps") or 0, _section(config, "training").get("numb_steps")
    if steps is not None:
        rule = f"must be below `training/numb_steps` = {steps}"
        require(warmup == 0 or warmup < steps, "learning_rate/warmup_steps", warmup, rule)


def check_branches(config: Mapping[str, Any]) -> None:
    """Check that data, losses and shares belong to branches of the model, and every branch has data.

    Raises
    ------
    ConfigError
        Names the path of the section.
    """
    branches = _section(_section(config, "model"), "model_dict")
    if not branches:
        return
    training, listed = _section(config, "training"), ", ".join(branches)
    places = {
        "training/data_dict": _section(training, "data_dict"),
        "training/model_prob": _section(training, "model_prob"),
        "loss_dict": _section(config, "loss_dict"),
    }
    for place, section in places.items():
        given = [name for name in section if not name.startswith("_")]
        unknown = [name for name in given if name not in branches]
        require(not unknown, place, given, f"must name branches of `model/model_dict`, {listed}")
        lacking = [name for name in branches if name not in given]
        needed = place == "training/data_dict" or len(given) > 0
        require(not (lacking and needed), place, given, f"must have {', '.join(lacking)} too, as `model/model_dict`")
    shares = [value for value in places["training/model_prob"].values() if _number(value)]
    require(
        not shares or sum(shares) > 0, "training/model_prob", dict(places["training/model_prob"]), "must not sum to 0"
    )


def _numbers(config: Mapping[str, Any]) -> Iterator[tuple[str, Any, Rule]]:
    training, rate = _section(config, "training"), _section(config, "learning_rate")
    yield from ((f"training/{name}", training.get(name), rule) for name, rule in TRAINING.items())
    yield from ((f"learning_rate/{name}", rate.get(name), rule) for name, rule in LEARNING_RATE.items())
    model = _section(config, "model")
    members = _section(model, "model_dict")
    for place, part in ({f"model/model_dict/{name}": members[name] for name in members} or {"model": model}).items():
        for name, rule in MODEL.items():
            group, _, key = name.rpartition("/")
            section = _section(part, group) if group else part
            yield f"{place}/{name}", section.get(key) if isinstance(section, Mapping) else None, rule
    branches = _section(training, "data_dict")
    data = {f"training/data_dict/{name}": _section(branches, name) for name in branches} or {"training": training}
    for place, part in data.items():
        for kind in ("training_data", "validation_data"):
            section = _section(part, kind)
            yield f"{place}/{kind}/batch_size", section.get("batch_size"), BATCH_SIZE
            yield f"{place}/{kind}/auto_prob", section.get("auto_prob"), SHARE
    of_branches = _section(config, "loss_dict")
    losses = {f"loss_dict/{name}": _section(of_branches, name) for name in of_branches} or {
        "loss": _section(config, "loss")
    }
    for place, loss in losses.items():
        yield from ((f"{place}/{name}", loss[name], NOT_NEGATIVE) for name in loss if PREFACTOR.fullmatch(name))
    for name, share in _section(training, "model_prob").items():
        yield f"training/model_prob/{name}", share, NOT_NEGATIVE


def _section(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A section, empty where there is none or something else, which DeePMD-kit refuses."""
    value = parent.get(name)
    return value if isinstance(value, Mapping) else {}
