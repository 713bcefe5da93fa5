"""``dpa4 info``: what a model file holds and what can be done with it."""

import json
import sys
from argparse import SUPPRESS, Action, ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deepmd_dpa4.checkpoint.newest import newest
from deepmd_dpa4.checkpoint.trained_elements import SMALLEST_BIAS

Row = tuple[str, str]


class ListKnown(Action):
    """Option that lists published models and stops."""

    def __call__(self, parser: ArgumentParser, *_: Any) -> None:
        """Print and exit."""
        from deepmd_dpa4.checkpoint.published import KNOWN, never_trained

        for model in KNOWN:
            show([*model.facts(), ("", "")])
        print(f"not trained on: {' '.join(never_trained())}")
        parser.exit()


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "info",
        help="tell what a checkpoint or a frozen model holds",
        description="Tell what a checkpoint .pt, or a frozen model .pth or .pt2 holds: options, elements, branches, "
        "numbers of parameters, training, versions, and what can be done with it. Nothing in the file is run.",
    )
    parser.add_argument("file", metavar="FILE", type=Path, help=".pt, .pth or .pt2, or the folder of a training")
    parser.add_argument(
        "--options", action="store_true", help="list all options, not only those that differ from the default"
    )
    parser.add_argument("--known", action=ListKnown, nargs=0, default=SUPPRESS, help="list published models, and stop")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Print the description on stdout.

    Raises
    ------
    FileError
        If the file cannot be read.
    FileNotFoundError
        If it does not exist.
    """
    from deepmd_dpa4.checkpoint.summary import summarize

    summary = summarize(newest(options.file, "FILE"))
    if options.json:
        print(json.dumps(summary, indent=2, default=str))
    else:
        show(list(rows(summary, options.options)))


def show(lines: list[Row]) -> None:
    """Print a table on a terminal, if ``rich`` is installed, and aligned text elsewhere."""
    if sys.stdout.isatty():
        try:
            from rich.console import Console
            from rich.table import Table
            from rich.text import Text
        except ImportError:
            pass
        else:
            table = Table(show_header=False, box=None)
            table.add_column(style="bold", no_wrap=True)
            table.add_column(overflow="fold")
            for label, value in lines:
                table.add_row(Text(label), Text(value))
            Console().print(table)
            return
    width = max(len(label) for label, _ in lines)
    for label, value in lines:
        print(f"{label:{width}}  {value}".rstrip())


def rows(summary: Mapping[str, Any], all_options: bool) -> Iterator[Row]:
    """List labels and values, in the order in which they are read."""
    yield "file", f"{summary['file']}, {summary['kind']}, {summary['bytes'] / 1e6:.1f} MB"
    written = [f"{name} {version}" for name, version in summary["versions"].items() if version]
    if summary["known"]:
        yield "known as", f"{summary['known']}, unchanged (SHA-256)"
    yield "written by", ", ".join(written) or "unknown versions"
    if summary["training"]:
        yield from _training(summary["training"])
    for key, value in (summary["frozen"] or {}).items():
        if value is not None:
            yield key, str(value)
    branches = summary["branches"]
    if len(branches) > 1:
        yield "branches", ", ".join(branches)
        yield "parameters", f"{_count(summary['parameters'])}, shared ones once"
    for name, branch in branches.items():
        if len(branches) > 1:
            yield "", ""
            yield "branch", name + (f", also called {', '.join(branch['aliases'])}" if branch["aliases"] else "")
        yield from _branch(branch, all_options)
    if all_options:
        for key, value in summary["metadata"].items():
            yield f"metadata/{key}", _short(value)
    yield "", ""
    for index, use in enumerate(summary["uses"]):
        yield "" if index else "use", use


def _training(training: Mapping[str, Any]) -> Iterator[Row]:
    if training["step"] is not None:
        rate = "" if training["lr"] is None else f", learning rate {training['lr']:.3g}"
        yield "training", f"{training['step'] + 1} steps{rate}"
    averaged = f"averaged weights, decay {training['ema_decay']}" if training["ema"] else "no averaged weights"
    if training["averaged"]:
        averaged = "these are averaged weights"
    yield "state", ("optimizer" if training["optimizer"] else "no optimizer state") + f", {averaged}"
    if training["warning"]:
        yield "warning", training["warning"]


def _branch(branch: Mapping[str, Any], all_options: bool) -> Iterator[Row]:
    other = "" if branch["changed"] is not None else f" with descriptor {branch['architecture']}, no DPA4 model"
    yield "model", f"{branch['type']}{other}, runs in {_implementation(branch)}"
    for name in branch["unknown"]:
        yield "unknown", f"`{name}`: neither implementation has this option"
    yield "elements", " ".join(map(str, branch["type_map"]))
    if branch["trained_on"] and set(branch["trained_on"]) != set(branch["type_map"]):
        yield "trained on", " ".join(map(str, branch["trained_on"]))
    if branch["parameters"]:
        yield "parameters", _count(branch["parameters"])
    for part, others in branch["shared"].items() if branch["shared"] else ():
        yield "shared", f"{part} with {', '.join(others)}"
    if branch["dtype"]:
        yield "precision", branch["dtype"]
    if branch["rules"] is not None:
        yield "rules", f"version {branch['rules']:g}"
    if branch["bias"]:
        known = {element: value for element, value in branch["bias"].items() if abs(value) > SMALLEST_BIAS}
        yield "bias / eV", ", ".join(f"{element} {value:.6g}" for element, value in known.items()) or "none"
    if all_options:
        for section, values in branch["options"].items():
            for key, value in values.items():
                yield f"{section}/{key}", _short(value)
    elif branch["changed"] is None:
        yield "options", "listed by --options"
    else:
        yield "options", "" if branch["changed"] else "all defaults"
        for key, value in branch["changed"].items():
            yield f"  {key}", _short(value)


def _implementation(branch: Mapping[str, Any]) -> str:
    if not branch["official_only"]:
        return str(branch["runs_in"])
    return f"DeePMD-kit's built-in DPA4 because of {', '.join(f'`{name}`' for name in branch['official_only'])}"


def _count(parameters: Mapping[str, int]) -> str:
    parts = f"descriptor {parameters['descriptor']:,}, fitting net {parameters['fitting']:,}"
    return f"{parameters['total']:,} ({parts})"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 200 else f"{text[:200]} ..."
