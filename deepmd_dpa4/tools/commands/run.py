"""``dpa4 run``: start a program with the settings that help it."""

import os
from argparse import REMAINDER, ArgumentParser, Namespace
from typing import Any

from deepmd_dpa4.lammps_plugin import announce
from deepmd_dpa4.wait_policy import wait_politely

# Big blocks stay in the process, see docs/performance.md.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "10000000000",
    "MALLOC_TRIM_THRESHOLD_": "20000000000",
    "MALLOC_TOP_PAD_": "268435456",
}


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser: ArgumentParser = commands.add_parser(
        "run",
        help="start a program with allocator settings and native kernels",
        usage="dpa4 run [-h] -- COMMAND [ARGUMENT ...]",
        description="Start a program, such as `dp --pt train input.json` or `lmp -in in.lammps`, with the memory "
        "allocator keeping big blocks, and with the native kernels, if they are compiled, in DP_PLUGIN_PATH. Allocator "
        "settings that are made already are kept.",
    )
    parser.add_argument("command", nargs=REMAINDER, help="the program and its arguments")
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Replace this process by the program.

    Raises
    ------
    ValueError
        If there is no program.
    FileNotFoundError
        If it is not on PATH.
    """
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise ValueError("`COMMAND` is missing: dpa4 run -- COMMAND [ARGUMENT ...]")
    try:
        os.execvpe(command[0], command, environment(dict(os.environ)))
    except FileNotFoundError:
        raise FileNotFoundError(f"`COMMAND` is {command[0]!r} but must be a program on PATH") from None


def environment(given: dict[str, str]) -> dict[str, str]:
    """Set the variables for the program; those that are given stay."""
    result = {**ALLOCATOR, **given}
    wait_politely(result)
    announce(result)
    return result
