"""``dpa4 plot``: learning curves."""

from argparse import Namespace
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "plot",
        help="draw learning curves",
        description="Draw the learning curves of one or more trainings, a panel for each quantity.",
    )
    parser.add_argument("curves", metavar="LCURVE", nargs="+", type=Path, help="files lcurve.out, or folders with one")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("lcurve.png"), help="plot, .png, .svg or .pdf; default %(default)s"
    )
    parser.add_argument("--log-steps", action="store_true", help="logarithmic axis of steps")
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Draw, and print the name of the plot.

    Raises
    ------
    DataError, FileNotFoundError
        As :func:`deepmd_dpa4.tools.plots.lcurve.draw`.
    """
    from deepmd_dpa4.tools.plots.lcurve import draw
    from deepmd_dpa4.tools.plots.style import check_output

    check_output(options.output)
    curves = [path / "lcurve.out" if path.is_dir() else path for path in options.curves]
    draw(curves, options.output, options.log_steps)
    print(options.output)
