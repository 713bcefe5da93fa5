"""Trainings by ``dp --pt train``."""

from dataclasses import dataclass
from pathlib import Path

from tests.support import inputs
from tests.support.commands import dp
from tests.support.toy import Frames


@dataclass(frozen=True)
class Data:
    """Folders of training and validation data, and the frames of the latter."""

    train: Path
    valid: Path
    frames: Frames


@dataclass(frozen=True)
class Run:
    """A finished training."""

    folder: Path
    log: str

    @property
    def checkpoint(self) -> Path:
        return self.folder / "model.ckpt.pt"

    @property
    def frozen(self) -> Path:
        return self.folder / "model.pth"


def train(folder: Path, content: inputs.Section, *arguments: str, official: bool = False, fresh: bool = False) -> Run:
    """``dp --pt train`` in ``folder``."""
    name = inputs.write(folder, content)
    return Run(folder, dp("train", name, *arguments, folder=folder, official=official, fresh=fresh))
