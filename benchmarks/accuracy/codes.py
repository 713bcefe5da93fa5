"""The codes of the comparison: how each is trained, and what appears when a part of its training is done."""

import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clock import recorded, timed
from networks import NETWORKS, dpa3_input, dpa4_input
from splits import Folders

CHECKPOINT = re.compile(r"model\.ckpt-(\d+)\.pt")
CALIBRATION = 30
"""Steps of the short run from which the length of a training is computed."""


@dataclass(frozen=True)
class Task:
    """One training: network, data set, seed, and budget in seconds of the clock."""

    code: str
    network: str
    data: str
    seed: int
    budget: float
    recipe: str
    batch: int
    """Atoms in a batch, at least."""
    clock: str
    saves: int

    @property
    def kind(self) -> str:
        """Name of what seeds have in common."""
        return f"{self.data}_{self.code}_{self.network}_{self.recipe}"

    @property
    def name(self) -> str:
        """Name of its files."""
        return f"{self.kind}_{self.seed}"


@dataclass(frozen=True)
class Code:
    """A code that `dp --pt train` trains, in this environment."""

    name: str
    networks: tuple[str, ...]
    environment: dict[str, str]

    def section(self, task: Task, folders: Folders, steps: int, saves: int) -> dict[str, Any]:
        """Write the input."""
        if self.name == "dpa3":
            return dpa3_input(task.data, folders, steps, task.seed, batch=task.batch, saves=saves)
        return dpa4_input(
            task.network,
            task.data,
            folders,
            steps,
            task.seed,
            recipe_name=task.recipe,
            batch=task.batch,
            saves=saves,
        )

    def run(self, task: Task, folders: Folders, folder: Path, steps: int, saves: int) -> dict[str, float]:
        """Train, or go on with an interrupted training; return the seconds at each checkpoint."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "input.json").write_text(json.dumps(self.section(task, folders, steps, saves), indent=2))
        before = recorded(folder)
        done = max((step_of(mark) for mark in before), default=0)
        if done >= steps:
            return before
        restart = ["--restart", f"model.ckpt-{done}.pt"] if done else []
        command = [
            Path(sys.executable).with_name("dp"),
            "--pt",
            "train",
            "input.json",
            "--skip-neighbor-stat",
            *restart,
        ]
        return timed(
            command, folder, {**os.environ, **self.environment}, lambda: checkpoints(folder), task.clock, before
        )

    def calibrate(self, task: Task, folders: Folders, folder: Path) -> tuple[float, float]:
        """Measure the seconds before the first step and of a step."""
        marks = self.run(task, folders, folder, CALIBRATION, 3)
        (*_, (before, earlier), (last, later)) = sorted((step_of(mark), seconds) for mark, seconds in marks.items())
        step = (later - earlier) / (last - before)  # the first steps take longer
        shutil.rmtree(folder)
        return max(0.0, later - last * step), step


CODES = {
    "deepmd-dpa4": Code("deepmd-dpa4", NETWORKS, {}),
    "built-in": Code("built-in", NETWORKS, {"DEEPMD_DPA4": "builtin"}),
    "dpa3": Code("dpa3", ("l6",), {}),
}


def checkpoints(folder: Path) -> list[str]:
    """List the checkpoints in a folder by step."""
    return sorted((path.name for path in folder.iterdir() if CHECKPOINT.fullmatch(path.name)), key=step_of)


def step_of(mark: str) -> int:
    """Tell the step of a checkpoint from its name."""
    found = CHECKPOINT.fullmatch(mark)
    assert found is not None, mark
    return int(found[1])
