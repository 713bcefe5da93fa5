"""Codes in environments of their own, trained on extended XYZ and evaluated there by their ASE calculators."""

import json
import math
import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from clock import TrainingError, recorded, timed
from codes import Predicted, Task, speed_of
from splits import DATA, Folders

from deepmd_dpa4.tools.data.frame import Frame
from deepmd_dpa4.tools.data.reader import frames_at

PREDICT = Path(__file__).resolve().with_name("predict.py")
CALIBRATION_BATCHES, CALIBRATION_EPOCHS = 10, 3
"""Size of the short run from which the length of a training is computed."""


@dataclass(frozen=True)
class Job:
    """One training: files, epochs, epochs between two checkpoints, and the checkpoint from which it goes on."""

    task: Task
    folder: Path
    training: Path
    validation: Path
    frames: int
    epochs: int
    every: int
    resume: str | None


@dataclass(frozen=True)
class Program(ABC):
    """A code that is installed elsewhere.

    Parameters
    ----------
    environment : Path, optional
        The virtual environment that has it.
    """

    environment: Path | None = None
    name: ClassVar[str]
    package: ClassVar[str]
    settings: ClassVar[dict[str, dict[str, Any]]]
    """Documented settings of each network; ``batch`` counts frames."""
    recipe: ClassVar[str | None] = "documented"
    """Name of its training; optimizer, loss and rate are its own."""

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of its networks, the one that is documented for a first model first."""
        return tuple(self.settings)

    @property
    def python(self) -> Path:
        """Interpreter of the environment.

        Raises
        ------
        ValueError
            If no environment was named, or it has no interpreter.
        """
        if self.environment is None:
            raise ValueError(f"`--environment` names no environment for {self.name}: {self.name}=/path/to/environment")
        python = self.environment / "bin" / "python"
        if not python.exists():
            raise ValueError(f"`--environment` is {self.name}={self.environment} but there is no {python}")
        return python

    @abstractmethod
    def command(self, job: Job) -> list[Any]:
        """Write the input and return the command of a training."""

    @abstractmethod
    def checkpoints(self, folder: Path) -> list[str]:
        """List the checkpoints that are there, as paths relative to the folder."""

    @abstractmethod
    def epoch(self, mark: str) -> int | None:
        """Tell how many epochs a checkpoint has seen; None for the last one of a training."""

    def finished(self, folder: Path) -> bool:
        """Tell whether there is all that an evaluation needs beside the checkpoints."""
        return True

    def batches(self, frames: int, batch: int) -> int:
        """Count the batches of an epoch."""
        return math.ceil(frames / batch)

    def batch(self, task: Task) -> int:
        """Return the frames of a batch."""
        return int(self.settings[task.network]["batch"])

    def run(self, task: Task, folders: Folders, folder: Path, steps: int, saves: int) -> dict[str, float]:
        """Train, or go on with an interrupted training; return the seconds at each checkpoint."""
        training = list(frames_at([folders.training]))
        batches = self.batches(len(training), self.batch(task))
        every = max(1, round(steps / batches / saves))
        epochs = every * max(1, round(steps / batches / every))
        return self._train(task, folder, training, list(frames_at([folders.validation])), epochs, every)

    def calibrate(self, task: Task, folders: Folders, folder: Path) -> tuple[float, float]:
        """Measure the seconds before the first step and of a step."""
        some = list(frames_at([folders.training]))[: CALIBRATION_BATCHES * self.batch(task)]
        marks = self._train(task, folder, some, list(frames_at([folders.validation]))[:1], CALIBRATION_EPOCHS, 1)
        return speed_of({self.step(folder, mark): seconds for mark, seconds in marks.items()}, folder)

    def _train(
        self, task: Task, folder: Path, training: Sequence[Frame], validation: Sequence[Frame], epochs: int, every: int
    ) -> dict[str, float]:
        folder.mkdir(parents=True, exist_ok=True)
        files = folder / "training.xyz", folder / "validation.xyz"
        for path, frames in zip(files, (training, validation)):
            if not path.exists():
                write_frames(path, frames)
        batches = self.batches(len(training), self.batch(task))
        (folder / "plan.json").write_text(json.dumps({"epochs": epochs, "every": every, "batches": batches}))
        before = recorded(folder)
        last = max(before, key=lambda mark: self.step(folder, mark), default=None)
        if last is not None and self.step(folder, last) >= epochs * batches and self.finished(folder):
            return before
        job = Job(task, folder, *files, len(training), epochs, every, last)
        return timed(self.command(job), folder, own_environment(), lambda: self.checkpoints(folder), task.clock, before)

    def step(self, folder: Path, mark: str) -> int:
        """Tell the step of a checkpoint."""
        plan = json.loads((folder / "plan.json").read_text())
        epoch = self.epoch(mark)
        return int((plan["epochs"] if epoch is None else epoch) * plan["batches"])

    def evaluate(self, folder: Path, marks: Sequence[str], frames: Sequence[Frame]) -> list[list[Predicted]]:
        """Evaluate checkpoints on frames in the environment of the code.

        Raises
        ------
        TrainingError
            If the code fails.
        """
        write_frames(folder / "frames.xyz", frames)
        command = [self.python, PREDICT, self.name, folder, folder / "frames.xyz", folder / "predictions.npz", *marks]
        words = [str(word) for word in command]
        run = subprocess.run(words, env=own_environment(), capture_output=True, text=True, check=False)
        if run.returncode:
            raise TrainingError(f"{run.stderr[-2000:]}\n{PREDICT.name} ended with code {run.returncode} for {folder}")
        with np.load(folder / "predictions.npz") as file:
            energies, forces = file["energies"], file["forces"]
        ends = np.cumsum([len(frame.symbols) for frame in frames])[:-1]
        return [
            [Predicted(float(energy), force) for energy, force in zip(energies[row], np.split(forces[row], ends))]
            for row in range(len(marks))
        ]

    def about(self, folder: Path, mark: str, task: Task) -> dict[str, Any]:
        """Describe the network and the code, as the last evaluation found them."""
        found = json.loads((folder / "predictions.json").read_text())
        program = {"package": self.package, **found["versions"], "settings": self.settings[task.network]}
        return {"parameters": found["parameters"], "program": program}


def own_environment() -> dict[str, str]:
    """Return the environment variables of this process without those that would show another Python its packages."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def write_frames(path: Path, frames: Sequence[Frame]) -> None:
    """Write labelled frames as extended XYZ, with the names of labels that ASE and MACE look for."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    written = []
    for frame in frames:
        atoms = Atoms(list(frame.symbols), frame.positions, cell=frame.cell, pbc=frame.cell is not None)
        atoms.calc = SinglePointCalculator(atoms, energy=frame.energy, forces=frame.force)
        atoms.info["REF_energy"] = frame.energy
        atoms.arrays["REF_forces"] = frame.force
        written.append(atoms)
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, written, format="extxyz")


def type_names(task: Task) -> list[str]:
    """Return the elements of a data set."""
    return list(DATA[task.data].type_map)
