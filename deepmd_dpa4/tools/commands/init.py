"""``dpa4 init``: a training input of a published network."""

import math
import re
import sys
from argparse import SUPPRESS, Action, ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmd_dpa4.files import write_text
from deepmd_dpa4.tools.data.errors import require_name
from deepmd_dpa4.tools.presets.document import (
    Branch,
    Plan,
    Section,
    energy_input,
    finetune_input,
    multitask_input,
    small_input,
)
from deepmd_dpa4.tools.presets.overrides import Override
from deepmd_dpa4.tools.presets.recipe import STEPS
from deepmd_dpa4.tools.presets.sizes import SIZES
from deepmd_dpa4.tools.presets.small import BATCH_SIZE as SMALL_BATCH
from deepmd_dpa4.tools.presets.text import render

if TYPE_CHECKING:
    from deepmd_dpa4.tools.presets.closest import Closest

SINGLE = {"energy": energy_input, "finetune": finetune_input, "small": small_input}
"""How the input of each task with one branch is made."""
BATCH_SIZES = {"energy": "auto:128", "multitask": "auto:128", "finetune": "auto:128", "small": SMALL_BATCH}
PLACEHOLDER = "path/to/training/data"


class ListSizes(Action):
    """Option that prints the table of sizes and stops."""

    def __call__(self, parser: ArgumentParser, *_: Any) -> None:
        """Print and exit."""
        from deepmd_dpa4.tools.presets.tables import show, sizes_table

        show(sizes_table(), sys.stdout)
        parser.exit()


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "init",
        help="write a training input of a published network",
        description="Write a complete input for `dp --pt train`: a published network, the published training, and your "
        "data. Every option of the input can be changed, here or in the file.",
    )
    add = parser.add_argument
    add("size", choices=tuple(SIZES), metavar="SIZE", help=", ".join(SIZES))
    add("--list", action=ListSizes, nargs=0, default=SUPPRESS, help="print what the sizes are, and stop")
    add(
        "--task",
        choices=tuple(STEPS),
        default="energy",
        help="%(choices)s; default %(default)s; small: training on some hundred frames",
    )
    add(
        "--type-map",
        nargs="+",
        metavar="ELEMENT",
        help="elements, in this order, or `all` 118; default: those in the data, by atomic number",
    )
    add(
        "--data",
        nargs="+",
        default=[],
        metavar="[NAME=]DIR",
        help="folders of training data, as `dp` will find them; NAME is the branch in --task multitask",
    )
    add("--validation", nargs="+", default=[], metavar="[NAME=]DIR", help="folders of validation data, likewise")
    add("--steps", type=int, metavar="N", help=f"training steps; default {steps_text()}")
    add(
        "--batch-size",
        metavar="B",
        help="frames in a step, or auto:N, max:N, filter:N for about N atoms; default "
        f"{BATCH_SIZES['energy']}, with --task small {SMALL_BATCH}",
    )
    add(
        "--robust",
        action="store_true",
        help="add the options against spikes and holes where no data are: a radial basis that is not trained, a "
        "single envelope, and the repulsion of nuclei below the shortest distances of the data; not those of the "
        "published networks, so a checkpoint to fine-tune must come from such a training",
    )
    add("--seed", type=int, default=1, help="of weights and sampling; default %(default)s")
    add(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="any option of the input, such as model.descriptor.rcut=5.0; VALUE is JSON; may be repeated",
    )
    add("-o", "--output", type=Path, default=Path("input.json"), help="default %(default)s")
    add("--force", action="store_true", help="replace the output if it is there")
    parser.set_defaults(run=run)


def steps_text() -> str:
    """List the default numbers of steps, for the help."""
    return ", ".join(f"{steps:,} ({task})" for task, steps in STEPS.items())


def run(options: Namespace) -> None:
    """Write the input, tell what it holds on stderr, and print its path on stdout.

    Raises
    ------
    ValueError
        If an option or the data do not fit, or the input with the options of ``--set`` is none that DeePMD-kit takes.
    FileExistsError
        If the output is there, without ``--force``.
    """
    check_output(options.output, options.force)
    from deepmd_dpa4.tools.presets import branches as data
    from deepmd_dpa4.tools.presets.remarks import lacking, unread
    from deepmd_dpa4.tools.presets.tables import data_table, show

    multi = options.task == "multitask"
    given = data.named_types(options.type_map)
    folders = {f"--{key}": data.grouped(getattr(options, key), f"--{key}", multi) for key in ("data", "validation")}
    contents = {option: data.contents_of(places, given, option) for option, places in folders.items()}
    closest = data.closest_of(folders["--data"], given) if options.robust else None
    plan = Plan(
        size=SIZES[options.size],
        type_map=data.types_of(given, contents),
        steps=steps(options.steps, options.task),
        batch_size=batch_size(BATCH_SIZES[options.task] if options.batch_size is None else options.batch_size),
        seed=options.seed,
        sel="auto" if options.data else None,
        robust=options.robust,
        closest=math.inf if closest is None else closest.fraction,
    )
    branches = data.branches_of(folders["--data"], folders["--validation"], contents["--data"])
    document = changed(make_input(options.task, plan, branches), options.set)
    comment = headline(options, plan, len(branches))
    write_text(options.output, render({"_comment": comment, **document}) + "\n")
    if options.data:
        show(data_table(contents), sys.stderr)
    if unused := data.unused_types(contents):
        print(f"types without an atom, which a type_map.raw names: {' '.join(unused)}", file=sys.stderr)
    lines = (*lacking(contents), *unread(contents, document["model"]), *advice(options.size, plan, contents))
    for line in (*lines, *bridged(plan, closest)):
        print(line, file=sys.stderr)
    pretrained = " --finetune PRETRAINED.pt --use-pretrain-script" if options.task == "finetune" else ""
    frames = next(iter(options.validation or options.data or ()), "DATA")
    print(f"{comment}\nstart: dp --pt train {options.output}{pretrained}", file=sys.stderr)
    print(
        f"then: dpa4 plot lcurve.out; dpa4 parity . {frames}; dpa4 freeze . -o model.pth --kernels native",
        file=sys.stderr,
        flush=True,
    )
    print(options.output)


def advice(size: str, plan: Plan, contents: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Tell how long the training takes."""
    from deepmd_dpa4.tools.presets import duration

    if contents["--data"]:
        yield duration.told(size, plan.steps, duration.atoms_in_step(plan.batch_size, contents["--data"].values()))


def bridged(plan: Plan, closest: "Closest | None") -> Iterator[str]:
    """Tell which pair of the data moved the window of zone bridging, or left no room for it."""
    if not plan.robust:
        return
    chosen = plan.bridging().get("bridging_r_outer")
    if closest is not None:
        end = "is left out" if chosen is None else f"ends at {chosen:g} of it"
        yield (
            f"closest pair: {'-'.join(closest.pair)}, {closest.distance:.2f} Angstrom, {closest.fraction:.2f} of the "
            f"sum of the covalent radii ({closest.place}); zone bridging {end}"
        )
    elif chosen is None:
        yield "zone bridging is left out: it needs types with names of elements, H to Cm"


def check_output(path: Path, force: bool) -> None:
    """Refuse a name that ``dp`` would not read as JSON, and to replace a file unasked."""
    require_name(path, ".json")
    if path.exists() and not force:
        raise FileExistsError(f"`--output` is {path} but there is such a file already; `--force` replaces it")


def steps(given: int | None, task: str) -> int:
    """Read a number of steps."""
    if given is not None and given < 1:
        raise ValueError(f"`--steps` is {given} but must be positive")
    return STEPS[task] if given is None else given


def batch_size(text: str) -> int | str:
    """Read a number of frames, or a rule of DeePMD-kit that makes batches of about N atoms."""
    if re.fullmatch(r"[1-9]\d*", text):
        return int(text)
    if not re.fullmatch(r"auto|(auto|max|filter):[1-9]\d*", text):
        raise ValueError(f"`--batch-size` is {text!r} but must be a positive number, auto, auto:N, max:N or filter:N")
    return text


def make_input(task: str, plan: Plan, branches: dict[str, Branch]) -> Section:
    """Make the input of the task; without data it names a place where they would be."""
    if task == "multitask":
        if len(branches) < 2:
            raise ValueError(
                f"`--data` has {len(branches)} branches but `--task multitask` needs at least two NAME=DIR"
            )
        return multitask_input(plan, branches)
    (branch,) = branches.values() or [Branch(training=(PLACEHOLDER,))]
    return SINGLE[task](plan, branch)


def changed(document: Section, texts: Sequence[str]) -> Section:
    """Apply the options of ``--set`` to an input and check it."""
    from deepmd_dpa4.tools.presets.check import check

    for text in texts:
        Override.parse(text).apply(document)
    try:
        check(document)
    except ValueError as error:
        if not texts:
            raise
        raise ValueError(f"`--set` has {', '.join(map(repr, texts))} but {error}") from None
    return document


def headline(options: Namespace, plan: Plan, branches: int) -> str:
    """Say what the input is."""
    changes = any(Override.parse(text).changes_network() for text in options.set)
    count = f"{plan.parameters(branches):,} parameters"
    parts = [
        plan.size.title,
        *plan.changes(),
        f"{len(plan.type_map)} element{'s' if len(plan.type_map) > 1 else ''}",
        "changed network" if changes else count,
        *([f"{branches} branches"] if options.task == "multitask" else []),
        *(["continues from a pretrained model of the same network"] if options.task == "finetune" else []),
        *(["training for few data"] if options.task == "small" else []),
    ]
    return ", ".join(parts)
