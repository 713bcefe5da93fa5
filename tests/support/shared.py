"""Data and trainings that several processes of one test run use, made by the first that needs them."""

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.runs import Run


def made_once(factory: pytest.TempPathFactory, name: str, parallel: bool, make: Callable[[Path], str]) -> Path:
    """The folder that ``make`` filled, for all processes to read; what it returns lies beside it as ``NAME.log``."""
    base = factory.getbasetemp()
    # processes of one run have folders beside each other
    base = base.parent if parallel else base
    folder = base / f"shared-{name}"
    log = folder.with_suffix(".log")
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not log.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            log.write_text(make(folder))
    return folder


def shared(factory: pytest.TempPathFactory, name: str, parallel: bool, make: Callable[[Path], Run]) -> Run:
    """A copy of the run that ``make`` leaves in the folder that it is given, for this process to write into."""
    original = made_once(factory, name, parallel, lambda folder: make(folder).log)
    copy = factory.mktemp(name) / name
    shutil.copytree(original, copy, symlinks=True)
    return Run(copy, original.with_suffix(".log").read_text())
