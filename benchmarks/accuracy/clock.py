"""The time that a training has taken when a checkpoint appears."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

CLOCKS = ("wall", "processor")
INTERVAL = 0.25
"""Seconds between two looks."""
RECORD = "clock.json"
"""Seconds of each mark so far, from which an interrupted training goes on."""
_TICKS = os.sysconf("SC_CLK_TCK")


class TrainingError(Exception):
    """A training that failed, with the end of what it printed."""


def processor_seconds(pid: int) -> float:
    """Processor time of a process, its threads and the children it has waited for, in seconds (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(fields[place]) for place in (11, 12, 13, 14)) / _TICKS


def timed(
    command: Sequence[Any],
    folder: Path,
    environment: dict[str, str],
    marks: Callable[[], Sequence[str]],
    clock: str,
    before: dict[str, float] | None = None,
) -> dict[str, float]:
    """Run a command in a folder and note when each mark appears.

    Parameters
    ----------
    command : sequence
        Program and arguments; what it prints goes to ``train.out`` in the folder.
    folder : Path
        Where it runs; ``clock.json`` in it holds the marks so far.
    environment : dict
        Its environment.
    marks : callable
        Lists what is there by now, such as the names of checkpoints.
    clock : str
        ``wall``, or ``processor`` for a machine that others use meanwhile.
    before : dict, optional
        Marks of the interrupted run that this one continues; time goes on from the last of them.

    Returns
    -------
    dict[str, float]
        Seconds since the start for each mark.

    Raises
    ------
    TrainingError
        If the command fails.
    """
    seen = dict(before or {})
    offset = max(seen.values(), default=0.0)
    start, last = time.perf_counter(), 0.0
    with (folder / "train.out").open("a") as output:
        process = subprocess.Popen(
            [str(part) for part in command], cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        running = True
        try:
            while running:
                running = process.poll() is None
                with suppress(OSError, IndexError):  # of a process that has just ended
                    last = time.perf_counter() - start if clock == "wall" else max(last, processor_seconds(process.pid))
                new = [mark for mark in marks() if mark not in seen]
                if new:
                    seen |= dict.fromkeys(new, round(offset + last, 2))
                    (folder / RECORD).write_text(json.dumps(seen))
                if running:
                    time.sleep(INTERVAL)
        finally:
            process.terminate()
            process.wait()
    if process.returncode:
        tail = "\n".join((folder / "train.out").read_text(errors="replace").splitlines()[-20:])
        raise TrainingError(f"{tail}\n`{Path(str(command[0])).name}` in {folder} ended with code {process.returncode}")
    return seen


def recorded(folder: Path) -> dict[str, float]:
    """Read the marks of an interrupted run; none if there was no run."""
    path = folder / RECORD
    return json.loads(path.read_text()) if path.exists() else {}
