"""``dpa4 build``: compile the native kernels."""

import sys
import time
from argparse import Namespace
from typing import Any

from deepmd_dpa4.ops.native.build import build, library_path


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "build",
        help="compile the native CPU kernels",
        description="Compile the native CPU kernels for this machine and torch, which takes about a minute, and print "
        "where the library is. Nothing happens if it is there already.",
    )
    parser.add_argument("--force", action="store_true", help="compile everything again")
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Compile, telling the progress on stderr, and print the path of the library on stdout.

    Raises
    ------
    BuildError
        If it fails.
    """
    start = time.perf_counter()
    present = library_path().exists() and not options.force
    path = build(lambda line: print(line, file=sys.stderr, flush=True), force=options.force)
    how = "were there already" if present else f"are ready after {time.perf_counter() - start:.1f} s"
    print(f"native kernels {how}, {path.stat().st_size / 1e6:.1f} MB:", file=sys.stderr, flush=True)
    print(path)
