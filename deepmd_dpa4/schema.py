"""Argument schema of DeePMD-kit inputs, generated from the configuration classes.

DeePMD-kit loads this module at every start of ``dp``, before torch, so that ``dp doc-train-input`` and input checks
know the options; it imports nothing heavy. Where DeePMD-kit has a schema of its own for a name, as 3.2 has, that
schema stays, because it also holds the options that only the built-in DPA4 has: its texts are replaced by
ours and our additional options are appended. DeePMD-kit 3.1 has none; there ours is complete, and knows those options
in order to refuse them.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from dargs import Argument, Variant

from deepmd_dpa4.config import BridgingConfig, ConfigError, DescriptorConfig, FittingConfig
from deepmd_dpa4.config.check import check_models
from deepmd_dpa4.config.host_errors import retell
from deepmd_dpa4.config.model import ExecutionConfig, LowRankConfig, TrainingConfig
from deepmd_dpa4.config.parse import ALIASES, OFFICIAL_ONLY_DESCRIPTOR, OFFICIAL_ONLY_FITTING
from deepmd_dpa4.detection import claim_checkpoints
from deepmd_dpa4.errors import COMMAND, UserError, shorten_errors
from deepmd_dpa4.switch import plugin_enabled
from deepmd_dpa4.type_names import mentions_ours
from deepmd_dpa4.wait_policy import wait_politely

log = logging.getLogger("deepmd.dpa4")

DESCRIPTOR_DOC = "DPA4, an SE(3)-equivariant message-passing descriptor."
FITTING_DOC = "Energy network of DPA4 models."
MODEL_DOC = "DPA4 energy model."
LOW_RANK_DOC = (
    "Fine-tuning by low-rank updates: the weights of all linear maps of degrees and orders are frozen and trained "
    "through updates of low rank, with radial networks, norms, biases, attention and fitting net; type tables, gates, "
    "degree mixers and grid networks are frozen. Frozen files hold the sum. In multi-task training all branches have "
    "to share the descriptor, and share the updates."
)


def descriptor_arguments() -> list[Argument]:
    """List the options of the descriptor."""
    groups = get_type_hints(DescriptorConfig).values()
    return [argument for group in groups for argument in arguments_of(group)]


def fitting_arguments() -> list[Argument]:
    """List the options of the fitting net."""
    return arguments_of(FittingConfig)


def execution_arguments() -> list[Argument]:
    """List the options of the model itself."""
    low_rank = Argument(
        "lora", [dict, None], arguments_of(LowRankConfig), optional=True, default=None, doc=LOW_RANK_DOC
    )
    groups = (BridgingConfig, ExecutionConfig, TrainingConfig)
    return [*(argument for group in groups for argument in arguments_of(group)), low_rank]


def arguments_of(group: type) -> list[Argument]:
    """Make the arguments of one configuration class: name, types, default and text of each field."""
    hints = get_type_hints(group)
    aliases = {new: old for old, new in ALIASES.items()}
    return [
        Argument(
            item.name,
            _types(hints[item.name]),
            optional=True,
            default=_plain(item.default),
            alias=[aliases[item.name]] if item.name in aliases else None,
            doc=item.metadata["doc"],
        )
        for item in fields(group)
    ]


def refused_arguments(options: Mapping[str, tuple[Any, ...]]) -> list[Argument]:
    """Declare options that only the built-in DPA4 has: any value passes the input check.

    The neutral value, which inputs written by DeePMD-kit 3.2 spell out, has no effect; building the model refuses
    others and says why.
    """
    kinds = [bool, int, float, str, list, dict, None]
    doc = "An option of the built-in DPA4, which DeePMD-kit 3.2 has; here with this value only."
    return [Argument(name, kinds, optional=True, default=allowed[0], doc=doc) for name, allowed in options.items()]


def model_argument(name: str, fitting: str, alias: list[str] | None = None, refused: bool = False) -> Argument:
    """Declare a model of a descriptor of that name and a fitting net; ``refused`` adds options of the built-in DPA4."""
    of_descriptor, of_fitting = descriptor_arguments(), fitting_arguments()
    if refused:
        of_descriptor += refused_arguments(OFFICIAL_ONLY_DESCRIPTOR)
        of_fitting += refused_arguments(OFFICIAL_ONLY_FITTING)
    descriptors = Variant("type", [Argument(name, dict, of_descriptor, alias=alias)], optional=True, default_tag=name)
    fittings = Variant("type", [Argument(fitting, dict, of_fitting)], optional=True, default_tag=fitting)
    return Argument(
        name,
        dict,
        [
            Argument("descriptor", dict, [], [descriptors], optional=True, default={}, doc=DESCRIPTOR_DOC),
            Argument("fitting_net", dict, [], [fittings], optional=True, default={}, doc=FITTING_DOC),
            Argument("model_branch_alias", list, optional=True, default=[], doc="Other names of a multi-task branch."),
            Argument("info", dict, optional=True, default={}, doc="Free information kept with the model."),
            *execution_arguments(),
        ],
        alias=alias,
        doc=MODEL_DOC,
    )


def load() -> None:
    """Do nothing: the entry point of the group ``deepmd.backend`` works on import."""


def install() -> None:
    """Add our arguments to DeePMD-kit's tables."""
    from deepmd.utils import argcheck

    for name, alias, refused in (("dpa4", ["DPA4"], True), ("emfa", None, False)):
        fitting = f"{name}_ener"
        schemas = (
            (argcheck.descrpt_args_plugin, name, alias, DESCRIPTOR_DOC, descriptor_arguments),
            (argcheck.fitting_args_plugin, fitting, None, FITTING_DOC, fitting_arguments),
            (
                argcheck.model_args_plugin,
                name,
                alias,
                MODEL_DOC,
                partial(model_argument, name, fitting, alias, refused),
            ),
        )
        for schema in schemas:
            _put(*schema)
    if hasattr(argcheck, "validate_no_multitask_lora"):
        argcheck.validate_no_multitask_lora = check_shared_low_rank


def check_shared_low_rank(data: dict[str, Any], multi_task: bool = False) -> None:
    """Check that all branches have the same ``lora`` or none, in place of DeePMD-kit's check that none has it.

    This is the last step of the check of an input, so all options of our models are checked here too, before DeePMD-kit
    reads any data.

    Raises
    ------
    ConfigError
        If branches differ, or an option is wrong.
    """
    check_models(data["model"])
    if not multi_task:
        return
    sections = {name: branch.get("lora") for name, branch in data["model"]["model_dict"].items()}
    first, *others = sections.items()
    for name, section in others:
        if section != first[1]:
            raise ConfigError(
                f"`model/model_dict/{name}/lora` is {section} but must be {first[1]} as in {first[0]}: branches share "
                "the updates with the descriptor"
            )


def refusal(document: dict[str, Any], multi_task: bool = False) -> str | None:
    """Say what DeePMD-kit has against an input, in one line; None if it takes it.

    ``document`` is changed: defaults are filled in. In a multi-task input every branch spells what it shares.
    """
    from deepmd.utils.argcheck import normalize

    try:
        with retelling(document):
            normalize(document, multi_task=multi_task)
    except ConfigError as error:
        return str(error)
    return None


@contextmanager
def retelling(document: Mapping[str, Any]) -> Iterator[None]:
    """Tell what DeePMD-kit finds in an input with a model of ours in one line, with path and value.

    Parameters
    ----------
    document : mapping
        The input that the block checks.

    Raises
    ------
    ConfigError
        In place of errors of DeePMD-kit's check.
    """
    from dargs.dargs import ArgumentError

    try:
        yield
    except (ArgumentError, ValueError) as error:
        if isinstance(error, UserError) or not mentions_ours(document.get("model")):
            raise
        raise ConfigError(retell(error, document)) from None


def _put(plugin: Any, name: str, alias: list[str] | None, doc: str, ours: Callable[[], Any]) -> None:
    """Extend the entry called ``name`` in place, or add it.

    A second entry of the same name would make DeePMD-kit refuse every input, so the private table is searched.
    """
    table = plugin._ArgsPlugin__plugin.plugins
    for key, theirs in list(table.items()):
        if key[0] == name:
            table[key] = _extended(theirs, ours)
            return
    plugin.register(name, alias=alias, doc=doc)(ours)


def _extended(theirs: Callable[[], Any], ours: Callable[[], Any]) -> Callable[[], Any]:
    if getattr(theirs, "extended_by_dpa4", False):
        return theirs

    def schema() -> Any:
        arguments, own = theirs(), ours()
        if isinstance(arguments, list):
            return [*arguments, *map(_without_default, _merge(arguments, own)[len(arguments) :])]
        added = _merge(list(arguments.sub_fields.values()), list(own.sub_fields.values()))
        arguments.extend_subfields(added[len(arguments.sub_fields) :])
        for part in ("descriptor", "fitting_net"):
            # both sections may be left out: every option of them has a default
            arguments.sub_fields[part].optional = True
            arguments.sub_fields[part].default = {}
        arguments.doc = own.doc
        return arguments

    schema.extended_by_dpa4 = True  # type: ignore[attr-defined]
    return schema


def _without_default(argument: Argument) -> Argument:
    """Leave an option out of inputs that do not name it: `dp --pt-expt` hands all it finds to a built-in network."""
    return Argument(
        argument.name,
        argument.dtype,
        argument.sub_fields.values(),
        optional=True,
        alias=argument.alias,
        doc=argument.doc,
    )


def _merge(theirs: list[Argument], own: list[Argument]) -> list[Argument]:
    by_name = {argument.name: argument for argument in own}
    for argument in theirs:
        if argument.name in by_name:
            ours = by_name.pop(argument.name)
            argument.doc = ours.doc
            # a kind of value that we take too; theirs are more exact about lists
            argument.dtype = (*argument.dtype, *(kind for kind in ours.dtype if kind not in (*argument.dtype, list)))
    return theirs + list(by_name.values())


def _types(hint: Any) -> list[Any]:
    """Types of a hint as dargs knows them: tuples are lists, None stays None."""
    choices = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    plain = [list if get_origin(choice) is tuple else choice for choice in choices]
    return [None if choice is NoneType else choice for choice in plain]


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


if plugin_enabled():
    try:
        install()
        claim_checkpoints()
        shorten_errors()
        if Path(sys.argv[0]).stem == COMMAND:  # not in programs of others
            wait_politely(os.environ)
    except Exception as error:  # an exception here would break every command of DeePMD-kit
        log.warning("deepmd-dpa4 could not extend the input schema of DeePMD-kit: %s", error)
