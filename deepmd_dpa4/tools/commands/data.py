"""``dpa4 data``: make data sets for training, and look at them."""

from typing import Any

from deepmd_dpa4.tools.commands import data_check, data_convert, data_split


def add_parser(commands: Any) -> None:
    """Declare the subcommand and its own subcommands."""
    parser = commands.add_parser("data", help="make data sets for training and look at them")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    for action in (data_convert, data_split, data_check):
        action.add_parser(actions)
