"""The codes that `dp` trains: how each is trained, and what appears when a part of its training is done."""

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from clock import recorded, timed
from networks import NETWORKS, dpa3_input, dpa4_input
from splits import Folders

from deepmd_dpa4.tools.data.frame import Frame

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


class Predicted(NamedTuple):
    """Energy in eV and forces (atoms, 3) in eV/Angstrom of a frame."""

    energy: float
    forces: np.ndarray


class Trainable(Protocol):
    """What the comparison asks of a code."""

    name: Any
    recipe: Any
    """Name of its own training; None if it takes that of `--recipe`."""

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of its networks."""

    def run(self, task: Task, folders: Folders, folder: Path, steps: int, saves: int) -> dict[str, float]:
        """Train, or go on with an interrupted training; return the seconds at each checkpoint."""

    def calibrate(self, task: Task, folders: Folders, folder: Path) -> tuple[float, float]:
        """Measure the seconds before the first step and of a step."""

    def step(self, folder: Path, mark: str) -> int:
        """Tell the step of a checkpoint."""

    def evaluate(self, folder: Path, marks: Sequence[str], frames: Sequence[Frame]) -> list[list[Predicted]]:
        """Evaluate checkpoints on frames."""

    def about(self, folder: Path, mark: str, task: Task) -> dict[str, Any]:
        """Describe the network of a checkpoint."""


@dataclass(frozen=True)
class Code:
    """A code that `dp --pt train` trains, in this environment."""

    name: str
    networks: tuple[str, ...]
    environment: dict[str, str]
    recipe: ClassVar[str | None] = None

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
        start = ["--restart", f"model.ckpt-{done}.pt"] if done else self.first_start(task)
        command = [Path(sys.executable).with_name("dp"), "--pt", "train", "input.json", "--skip-neighbor-stat", *start]
        return timed(
            command, folder, {**os.environ, **self.environment}, lambda: checkpoints(folder), task.clock, before
        )

    def first_start(self, task: Task) -> list[str]:
        """Arguments of a training that does not go on with an interrupted one."""
        return []

    def calibrate(self, task: Task, folders: Folders, folder: Path) -> tuple[float, float]:
        """Measure the seconds before the first step and of a step."""
        marks = self.run(task, folders, folder, CALIBRATION, 3)
        return speed_of({step_of(mark): seconds for mark, seconds in marks.items()}, folder)

    def step(self, folder: Path, mark: str) -> int:
        """Tell the step of a checkpoint."""
        return step_of(mark)

    def evaluate(self, folder: Path, marks: Sequence[str], frames: Sequence[Frame]) -> list[list[Predicted]]:
        """Evaluate checkpoints on frames."""
        # this process waits for trainings meanwhile, and should not hold the memory of torch
        from deepmd_dpa4.inference.evaluator import Evaluator
        from deepmd_dpa4.inference.structure import Structure

        structures = [Structure(frame.symbols, frame.positions, frame.cell) for frame in frames]
        return [
            [Predicted(found.energy, found.forces) for found in Evaluator(folder / mark).evaluate(structures)]
            for mark in marks
        ]

    def about(self, folder: Path, mark: str, task: Task) -> dict[str, Any]:
        """Count the trained parameters of a checkpoint."""
        from deepmd_dpa4.checkpoint.count import unique
        from deepmd_dpa4.checkpoint.read import read_checkpoint

        tensors = unique(read_checkpoint(folder / mark).tensors, ours=self.name != "dpa3")
        return {"parameters": sum(tensor.numel() for tensor in tensors.values())}


@dataclass(frozen=True)
class FineTuned(Code):
    """Fine-tuning by this package; the networks are those of checkpoints."""

    name: str = "fine-tuned"
    networks: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    recipe: ClassVar[str | None] = "finetune"
    checkpoints: Mapping[str, Path] = field(default_factory=dict)

    def section(self, task: Task, folders: Folders, steps: int, saves: int) -> dict[str, Any]:
        """Write the input, in which `dp` replaces the network by that of the checkpoint."""
        return super().section(replace(task, network="nano"), folders, steps, saves)

    def first_start(self, task: Task) -> list[str]:
        """Start from the checkpoint of the network."""
        return ["--finetune", str(self.checkpoints[task.network]), "--use-pretrain-script"]


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


def speed_of(marks: dict[int, float], folder: Path) -> tuple[float, float]:
    """Compute the seconds before the first step and of a step from those at each step, and remove the folder.

    The last two marks count: the first steps take longer.
    """
    (*_, (before, earlier), (last, later)) = sorted(marks.items())
    step = (later - earlier) / (last - before)
    shutil.rmtree(folder)
    return max(0.0, later - last * step), step
