"""``dpa4 data check``: what data sets are like."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from deepmd_dpa4.tools.commands.data_limits import add_limits, limits
from deepmd_dpa4.tools.commands.progress import progress_bar
from deepmd_dpa4.tools.data.errors import DataError, require, require_name, require_positive


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser: ArgumentParser = commands.add_parser(
        "check",
        help="composition, distances, energies, forces, outliers and gaps of DeePMD data",
        description="Print what DeePMD npy folders of either layout hold and what looks wrong in them, and write a "
        "page with histograms.",
    )
    parser.add_argument("data", metavar="DATA", nargs="+", type=Path, help="folders of data, at any depth")
    parser.add_argument("-o", "--output", type=Path, metavar="PAGE", help="page to write, .html")
    parser.add_argument(
        "--cutoff",
        type=float,
        default=4.0,
        metavar="ANGSTROM",
        help="longest distance to look for; default %(default)s",
    )
    parser.add_argument(
        "--outlier",
        type=float,
        default=10.0,
        metavar="DEVIATIONS",
        help="robust standard deviations from which a frame stands out; default %(default)s",
    )
    add_limits(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Print tables, write the page.

    Raises
    ------
    DataError
        As :func:`deepmd_dpa4.tools.data.statistics.gather`, or if an option is out of range.
    """
    require("rich", "data", "`dpa4 data check`")
    for name in ("cutoff", "outlier"):
        require_positive(f"--{name}", getattr(options, name))
    checked = limits(options)
    if options.output is not None:
        check_page(options.output)
    from deepmd_dpa4.tools.data.statistics import fit_elements, gather
    from deepmd_dpa4.tools.data.summary import Summary

    with progress_bar("frames") as report:
        statistics = gather(
            options.data,
            checked,
            options.cutoff,
            report,
        )
    if not statistics.place:
        kinds = ", ".join(kind.value for kind in statistics.problems)
        raise DataError(f"none of the {statistics.frames} frames in `DATA` can be used: {kinds}")
    summary = Summary(statistics, fit_elements(statistics), options.outlier)
    show(summary)
    if options.output is not None:
        from deepmd_dpa4.tools.plots.data_page import write

        write(summary, f"Data in {', '.join(map(str, options.data))}", options.output)
        print(options.output)


def check_page(path: Path) -> None:
    """Refuse a page that cannot be written.

    Raises
    ------
    DataError
        If matplotlib is missing, the suffix is not .html, or the folder does not exist.
    """
    require("matplotlib", "plot", f"drawing {path}")
    require_name(path, ".html")


def show(summary: Any) -> None:
    """Print all tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.width = max(console.width, 120)
    for table in summary.tables():
        shown = Table(*table.header, title=table.title, title_justify="left", show_header=any(table.header))
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
