"""``dpa4 data split``: frames for training and for validation."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

FRACTION = 0.1
UNITS = "frame, block:N, source, composition, key:NAME or each:NAME"


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser: ArgumentParser = commands.add_parser(
        "split",
        help="DeePMD data to OUTPUT/train and OUTPUT/valid",
        description="Copy DeePMD npy folders to OUTPUT/train and OUTPUT/valid, with every array of theirs.",
    )
    parser.add_argument("data", metavar="DATA", nargs="+", type=Path, help="folders of data, at any depth")
    parser.add_argument("-o", "--output", required=True, type=Path, help="folder to make; it must not exist")
    add_split(parser, FRACTION)
    parser.set_defaults(run=run)


def add_split(parser: ArgumentParser, fraction: float | None) -> None:
    """Declare the options of a split; without a fraction there is none unless it is asked for."""
    group = parser.add_argument_group("split")
    text = "default %(default)s" if fraction else "writes OUTPUT/train and OUTPUT/valid; by default there is no split"
    group.add_argument("--valid-fraction", type=float, default=fraction, metavar="F", help=f"for validation; {text}")
    group.add_argument(
        "--split-by", default="frame", metavar="UNIT", help=f"what stays together: {UNITS}; default %(default)s"
    )
    group.add_argument("--seed", type=int, default=1, help="of the choice; default %(default)s")


def splitter(options: Namespace) -> Any:
    """Read the options of a split; None for none.

    Raises
    ------
    DataError
        If one is out of range.
    """
    from deepmd_dpa4.tools.data.split import Splitter, Unit

    unit = Unit.parse(options.split_by)
    return None if options.valid_fraction is None else Splitter(options.valid_fraction, unit, options.seed)


def run(options: Namespace) -> None:
    """Split data, and say what went where.

    Raises
    ------
    DataError
        As :func:`deepmd_dpa4.tools.data.split.split`.
    """
    from deepmd_dpa4.tools.data.split import split

    chosen = splitter(options)
    split(options.data, options.output, chosen)
    print(told(chosen, options.output))


def told(chosen: Any, output: Path) -> str:
    """Say how many frames went where."""
    sides = ", ".join(f"{frames} frames in {output / side}" for side, frames in chosen.frames.items())
    return f"{sides}; {len(chosen.chosen)} units by {chosen.unit.kind}"
