"""Data and trained models that the tests of the folder share; training each costs about ten seconds."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.host import inputs
from tests.host.commands import dp
from tests.host.toy import Frames, toy_frames, write_system


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


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("data")
    valid = toy_frames(5, seed=1)
    return Data(write_system(folder / "train", toy_frames(12, seed=0)), write_system(folder / "valid", valid), valid)


@pytest.fixture(scope="session")
def trained(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Model with all common branches, trained and frozen."""
    content = {"model": inputs.model(inputs.DESCRIPTOR)} | inputs.training(data.train, data.valid, 60, 5e-3)
    run = train(tmp_path_factory.mktemp("trained"), content, fresh=True)
    dp("freeze", "-o", "model.pth", folder=run.folder, fresh=True)
    return run


@pytest.fixture(scope="session", params=[False, True], ids=["concatenated", "film"])
def multi(request: pytest.FixtureRequest, data: Data, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two tasks with shared networks, told apart by either kind of task code."""
    content = inputs.multi_task(data.train, steps=8, rate=5e-3, film=request.param)
    return train(tmp_path_factory.mktemp("multi"), content)
