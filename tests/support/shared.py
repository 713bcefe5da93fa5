"""Trainings that several processes of one test run use, made by the first that needs them."""

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.runs import Run


def shared(factory: pytest.TempPathFactory, name: str, parallel: bool, make: Callable[[Path], Run]) -> Run:
    """A copy of the run that ``make`` leaves in the folder that it is given, for this process to write into."""
    base = factory.getbasetemp()
    # processes of one run have folders beside each other
    base = base.parent if parallel else base
    original, log = base / f"shared-{name}", base / f"shared-{name}.log"
    with (base / f"shared-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not log.exists():
            shutil.rmtree(original, ignore_errors=True)
            original.mkdir()
            log.write_text(make(original).log)
    copy = factory.mktemp(name) / name
    shutil.copytree(original, copy, symlinks=True)
    return Run(copy, log.read_text())
