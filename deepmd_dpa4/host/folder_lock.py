"""One training for each learning curve: two that share a folder overwrite each other's files without a word."""

import fcntl
import logging
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deepmd_dpa4.errors import UserError
from deepmd_dpa4.type_names import mentions_ours

log = logging.getLogger("deepmd.dpa4")


class TrainingRuns(UserError):
    """A running training writes the same files."""


class Claim:
    """Keeps the learning curve of a training from others for as long as the object lives.

    The file itself is locked. The kernel gives the lock up when the process ends, however it ends, since the processes
    that it forks close the file: those that load data outlive a killed training by seconds.

    Parameters
    ----------
    config : dict
        The complete training input.

    Raises
    ------
    TrainingRuns
        If another process holds it.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.path = Path(config["training"].get("disp_file", "lcurve.out"))
        self.file = self.path.open("a")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.file.close()
            raise TrainingRuns(
                f"`training/disp_file` is '{self.path}', which a running training writes in "
                f"{self.path.resolve().parent}: start this one in another folder, or wait"
            ) from None
        except OSError as error:  # a file system without locks
            log.debug("%s cannot be locked: %s", self.path, error)
        forked = weakref.WeakMethod(self.leave_to_parent)
        os.register_at_fork(after_in_child=lambda: (leave := forked()) and leave())

    def leave_to_parent(self) -> None:
        """Close the file in a forked process, which would hold the lock as long as it lives."""
        self.file.close()

    def give_up(self) -> None:
        """Let others have the file, and leave none behind if nothing was written."""
        if not self.file.closed:
            if self.path.is_file() and self.path.stat().st_size == 0:
                self.path.unlink()
            self.file.close()


@contextmanager
def claiming(config: dict[str, Any]) -> Iterator[Claim | None]:
    """Hold the learning curve of a training of our models, and give it up where its trainer cannot be made.

    Parameters
    ----------
    config : dict
        The complete training input. The first process of a parallel training alone writes files.
    """
    if os.environ.get("RANK", "0") != "0" or not mentions_ours(config["model"]):
        yield None
        return
    claim = Claim(config)
    try:
        yield claim
    except BaseException:
        claim.give_up()
        raise
