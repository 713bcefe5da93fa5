"""One training for a learning curve, and for a prefix of checkpoints: two would overwrite each other's files."""

import fcntl
import logging
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from deepmd_dpa4.errors import UserError
from deepmd_dpa4.files import WriteError
from deepmd_dpa4.type_names import mentions_ours

log = logging.getLogger("deepmd.dpa4")


class TrainingRuns(UserError):
    """A running training writes the same files."""


class Claim:
    """Keeps the files of a training from others for as long as the object lives.

    Locked are the learning curve itself, and a hidden file beside the checkpoints. The kernel gives the locks up when
    the process ends, however it ends, since the processes that it forks close the files: those that load data outlive
    a killed training by seconds.

    Parameters
    ----------
    config : dict
        The complete training input.

    Raises
    ------
    TrainingRuns
        If another process holds one of them.
    WriteError
        If one cannot be written.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        curve = Path(config["training"].get("disp_file", "lcurve.out"))
        prefix = Path(config["training"].get("save_ckpt", "model.ckpt"))
        self.files: dict[Path, TextIO] = {}
        forked = weakref.WeakMethod(self.leave_to_parent)
        os.register_at_fork(after_in_child=lambda: (leave := forked()) and leave())
        try:
            self.hold(curve, "disp_file", curve)
            self.hold(prefix.with_name(f".{prefix.name}.lock"), "save_ckpt", prefix)
        except UserError:
            self.give_up()
            raise

    def hold(self, path: Path, option: str, named: Path) -> None:
        """Lock a file, for an option that names files."""
        try:
            file = path.open("a")
        except OSError as error:
            raise WriteError(
                f"`training/{option}` is '{named}' but cannot be written in {path.resolve().parent}: {error.strerror}"
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise TrainingRuns(
                f"`training/{option}` is '{named}', which a running training writes in "
                f"{path.resolve().parent}: start this one in another folder, or wait"
            ) from None
        except OSError as error:  # a file system without locks
            log.debug("%s cannot be locked: %s", path, error)
        self.files[path] = file

    def leave_to_parent(self) -> None:
        """Close the files in a forked process, which would hold the locks as long as it lives."""
        for file in self.files.values():
            file.close()

    def give_up(self) -> None:
        """Let others have the files, and leave none behind in which nothing was written."""
        for path, file in self.files.items():
            if not file.closed:
                if path.is_file() and path.stat().st_size == 0:
                    path.unlink()
                file.close()


@contextmanager
def claiming(config: dict[str, Any]) -> Iterator[Claim | None]:
    """Hold the files of a training of our models, and give them up where its trainer cannot be made.

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
