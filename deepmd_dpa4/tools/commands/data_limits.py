"""Options of the checks that several subcommands make."""

from argparse import ArgumentParser, Namespace
from typing import Any

from deepmd_dpa4.tools.data.errors import require_positive
from deepmd_dpa4.tools.data.limits import Limits


def add_limits(parser: ArgumentParser) -> Any:
    """Declare the thresholds; returns their group."""
    default = Limits()
    group = parser.add_argument_group("checks")
    group.add_argument(
        "--min-distance",
        type=float,
        default=default.min_distance,
        metavar="ANGSTROM",
        help="atoms closer than this are a problem; default %(default)s",
    )
    group.add_argument(
        "--max-force",
        type=float,
        default=default.max_force,
        metavar="EV_PER_ANGSTROM",
        help="force components beyond this are a problem; default %(default)s",
    )
    return group


def limits(options: Namespace) -> Limits:
    """Read the thresholds of the command line.

    Raises
    ------
    DataError
        If one is not positive.
    """
    for name in ("min_distance", "max_force"):
        require_positive(f"--{name.replace('_', '-')}", getattr(options, name))
    return Limits(min_distance=options.min_distance, max_force=options.max_force)
