"""``dpa4 check``: is a potential sound where there are no data."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from deepmd_dpa4.tools.commands.data_check import check_page
from deepmd_dpa4.tools.commands.model_argument import add_charge_spin, add_model, open_model
from deepmd_dpa4.tools.commands.progress import progress_bar
from deepmd_dpa4.tools.data.errors import DataError, require

NAMES = ("pairs", "trimers", "curvature", "hill", "errors", "dynamics", "size", "symmetry", "cutoff")


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser: ArgumentParser = commands.add_parser(
        "check",
        help="tell whether a potential is sound where there are no data",
        description="Run instruments that need no labels: isolated pairs and trimers, curvature, hill climbs, "
        "dynamics, size consistency, symmetries, the cutoff; and errors by atom if there are data. Prints a table, "
        "writes a page and a JSON file. A second call goes on where an interrupted one stopped. Exit status: 0 all "
        "pass, 1 one fails, 2 wrong input.",
    )
    add_model(parser)
    parser.add_argument("--data", nargs="+", type=Path, default=[], metavar="DIR", help="folders of DeePMD data")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("check.html"),
        metavar="PAGE",
        help="page to write, .html; the JSON file beside it has the same name; default %(default)s",
    )
    parser.add_argument(
        "--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)}"
    )
    parser.add_argument("--pairs", type=int, default=24, metavar="N", help="at most so many pairs; default %(default)s")
    parser.add_argument("--reference", type=Path, metavar="FILE", help="JSON with reference curves of pairs")
    parser.add_argument("--frames", type=int, default=100, metavar="N", help="frames of the data; default %(default)s")
    parser.add_argument("--steps", type=int, default=500, help="steps of dynamics; default %(default)s")
    parser.add_argument(
        "--temperatures",
        nargs="+",
        type=float,
        default=[300.0, 2000.0],
        metavar="K",
        help="temperatures of the dynamics; default 300 2000",
    )
    parser.add_argument("--seed", type=int, default=0, help="of random numbers; default %(default)s")
    parser.add_argument("--again", action="store_true", help="forget earlier results")
    add_charge_spin(parser)
    parser.set_defaults(run=run, error_status=2)


def run(options: Namespace) -> int:
    """Run the instruments, print the table, write page and JSON.

    Returns
    -------
    int
        0 if all instruments pass, else 1.

    Raises
    ------
    DataError, FileNotFoundError, ValueError
        If an option, the model or the data cannot be used.
    """
    check_options(options)
    from deepmd_dpa4.tools.check.page import write
    from deepmd_dpa4.tools.check.prepare import prepare
    from deepmd_dpa4.tools.check.suite import ALL, run_all

    evaluator = open_model(options)
    context, report = prepare(evaluator, options)
    with progress_bar("") as advance:
        run_all(
            [instrument for instrument in ALL if instrument.name in options.only],
            evaluator,
            context,
            report,
            lambda name, done, total: advance(done, total, name),
        )
    write(report, f"Check of {options.model}", options.output)
    show(report)
    print(options.output)
    print(report.path)
    from deepmd_dpa4.tools.check.instrument import Verdict

    return int(report.verdict is Verdict.FAIL)


def check_options(options: Namespace) -> None:
    """Refuse what cannot be, before the model is opened.

    Raises
    ------
    DataError
        With the name of the option.
    """
    for package in ("rich", "ase"):
        require(package, "plot", "`dpa4 check`")
    check_page(options.output)
    for name, least in (("pairs", 0), ("frames", 1), ("steps", 0), ("seed", 0)):
        if getattr(options, name) < least:
            raise DataError(f"`--{name}` is {getattr(options, name)} but must be at least {least}")
    for temperature in options.temperatures:
        if not 0 < temperature < 1e5:
            raise DataError(f"`--temperatures` holds {temperature:g} but must be between 0 and 100000")


def show(report: Any) -> None:
    """Print the table of verdicts."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from deepmd_dpa4.tools.check.page import verdicts

    table = verdicts(report)
    console = Console(highlight=False)
    console.width = max(console.width, 120)
    colours = {"pass": "green", "fail": "bold red"}
    shown = Table(*table.header, title=table.title, title_justify="left")
    for row in table.rows:
        shown.add_row(*(Text(word, style=colours.get(word, "")) for word in row))
    console.print(shown)
