"""``dpa4 build``: compile the native kernels."""

import sys
import time
from argparse import BooleanOptionalAction, Namespace
from typing import Any

from deepmd_dpa4.ops.native.build import build, library_path
from deepmd_dpa4.ops.native.checksum import refusal
from deepmd_dpa4.ops.native.choose_library import usable_library
from deepmd_dpa4.ops.native.compiler import find_compiler
from deepmd_dpa4.ops.native.library import BuildError


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "build",
        help="compile the native CPU kernels",
        description="Compile the native CPU kernels for this machine and torch, which takes about a minute, and print "
        "where the library is. If it is there already, it is tried, and compiled again if it cannot be loaded. Without "
        "a compiler, the path of a library that was installed with the package is printed, if there is one.",
    )
    parser.add_argument("--force", action="store_true", help="compile everything again")
    parser.add_argument(
        "--set-allocator",
        action=BooleanOptionalAction,
        help="whether the library, when a process loads it, makes the C library keep freed memory for the next tensors "
        "instead of returning it to the system; given, links the library again; a new one does by default",
    )
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Compile, telling the progress on stderr, and print the path of the library on stdout.

    Raises
    ------
    BuildError
        If it fails.
    """
    start = time.perf_counter()
    asked = options.force or options.set_allocator is not None
    brought = usable_library()
    if brought != library_path() and not asked and find_compiler() is None:
        print("no C++ compiler is here; native kernels were installed with the package:", file=sys.stderr, flush=True)
        print(brought)
        return
    present = library_path().exists() and not asked
    wrong = refusal(library_path()) if present else None
    if wrong is not None:
        print(f"{library_path()} {wrong}; it is compiled again", file=sys.stderr, flush=True)
    path = build(
        lambda line: print(line, file=sys.stderr, flush=True),
        # of what is whole and still cannot be loaded, everything may be wrong
        force=options.force or (wrong or "").startswith("cannot be loaded"),
        set_allocator=options.set_allocator,
    )
    left = refusal(path)
    if left is not None:
        raise BuildError(f"{path} {left}")
    there = present and wrong is None
    how = "were there already" if there else f"are ready after {time.perf_counter() - start:.1f} s"
    print(f"native kernels {how}, {path.stat().st_size / 1e6:.1f} MB:", file=sys.stderr, flush=True)
    print(path)
