"""Make the native kernels available to this process, if it can have them."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from deepmd_dpa4.ops.native.build import build, known_failure
from deepmd_dpa4.ops.native.checksum import damage
from deepmd_dpa4.ops.native.choose_library import usable_library
from deepmd_dpa4.ops.native.library import BREATH, BuildError

log = logging.getLogger("deepmd.dpa4")

INTERVAL = BREATH - 1
"""Seconds between two lines of the log."""
_lock = threading.Lock()
_loaded: bool | None = None


def load(library: Path | None = None) -> bool:
    """Load the native kernels, compiling them first if there are none for this machine and torch.

    Only the first call of a process does anything. Where they cannot be had it says so in one warning; a build that
    failed is not repeated by other processes, except by ``dpa4 build``.

    Parameters
    ----------
    library : Path, optional
        What to load instead of the library that fits this machine.

    Returns
    -------
    bool
        Whether operators of the namespace ``dpa4`` can be called.
    """
    global _loaded
    with _lock:
        if _loaded is None:
            _loaded = _load(library)
        return _loaded


def _load(library: Path | None) -> bool:
    try:
        path = usable_library() if library is None else library
        wrong = damage(path)
        if wrong is not None and library is not None:
            raise BuildError(f"{path} {wrong}")
        if wrong is not None:
            reason = known_failure(path)
            if reason is not None:
                raise BuildError(f"an earlier build failed: {reason}")
            if path.exists():
                log.warning("%s %s; it is compiled again", path, wrong)
            with _progress() as report:
                build(report, retry=False)
        with torch.jit.optimized_execution(True):  # the library switches it off, for LAMMPS
            torch.ops.load_library(path)
    except (BuildError, OSError) as error:
        log.warning(
            "DPA4 runs on plain torch kernels, several times slower and with more memory than on native ones, "
            "which this machine does not have: %s\n"
            "Mend the cause and run `dpa4 build`, or set `model/kernels` to 'plain' to run without them.",
            error,
        )
        return False
    return True


class Occasional:
    """Passes a line on unless another one was passed on a moment ago.

    Parameters
    ----------
    tell : callable
        Gets the lines.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self.last = -INTERVAL

    def __call__(self, line: str) -> None:
        """Take a line; the first is always passed on."""
        if time.monotonic() - self.last >= INTERVAL:
            self.last = time.monotonic()
            self.tell(line)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A status line where somebody watches and rich is installed, otherwise a line of the log now and then."""
    console = None
    if sys.stderr.isatty():
        try:
            from rich.console import Console
        except ImportError:
            pass
        else:
            console = Console(stderr=True)
    if console is None:
        yield Occasional(log.info)
    else:
        with console.status("compiling native kernels") as status:
            yield status.update
