"""The command ``dpa4``."""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Sequence

from deepmd_dpa4 import __version__
from deepmd_dpa4.errors import UserError
from deepmd_dpa4.tools.commands import (
    build,
    check,
    convert,
    data,
    descriptors,
    dimer,
    eos,
    freeze,
    info,
    init,
    log,
    parity,
    plot,
    run,
    uncertainty,
)
from deepmd_dpa4.wait_policy import wait_politely


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Parameters
    ----------
    arguments : sequence of str, optional
        Words after ``dpa4``; those of the command line by default.

    Returns
    -------
    int
        Exit status: 0, or 1 after an error, which is told on stderr; a subcommand may return another, or name another
        for errors as ``error_status``. A wrong command line exits with 2.
    """
    try:
        status = run_subcommand(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # of a reader that has seen enough, such as `head`
        # the interpreter flushes it at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def run_subcommand(arguments: Sequence[str] | None) -> int:
    """Read the words and run the subcommand; returns the exit status."""
    options = make_parser().parse_args(arguments)
    if arguments is None:  # the command itself, not a call from a program
        wait_politely(os.environ)
    try:
        status = options.run(options)
    except BrokenPipeError:
        raise
    except (UserError, OSError, ValueError) as error:
        print(f"dpa4: error: {error}", file=sys.stderr)
        return int(getattr(options, "error_status", 1))
    return int(status or 0)


def make_parser() -> ArgumentParser:
    """Make the parser of all subcommands."""
    parser = ArgumentParser(prog="dpa4", description="Tools around the DPA4 models of deepmd-dpa4.")
    parser.add_argument("--version", action="version", version=f"deepmd-dpa4 {__version__}")
    commands = parser.add_subparsers(required=True, metavar="SUBCOMMAND")
    for command in (
        *(init, build, check, convert, data, descriptors, dimer),
        *(eos, freeze, info, log, parity, plot, run, uncertainty),
    ):
        command.add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
