"""Files that the tests of the folder share."""

from pathlib import Path

import pytest
import torch

from deepmd_dpa4.host.build import build_model
from tests.support import inputs
from tests.support.commands import dp
from tests.support.runs import Data, Run, train

EMA = {"enable_ema": True, "ema_decay": 0.8}


@pytest.fixture(scope="session")
def official(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Trained by DeePMD-kit's built-in DPA4, with averaged weights."""
    content = {"model": inputs.model()} | inputs.training(data.train, None, 4, 1e-2, **EMA)
    return train(tmp_path_factory.mktemp("official"), content, official=True)


@pytest.fixture(scope="session")
def ours(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Trained by this package, and frozen."""
    content = {"model": inputs.model()} | inputs.training(data.train, None, 4, 1e-2)
    run = train(tmp_path_factory.mktemp("ours"), content)
    dp("freeze", "-o", "model.pth", folder=run.folder)
    return run


@pytest.fixture(scope="session")
def tasks(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two branches that share everything but a code, with averaged weights."""
    content = inputs.multi_task(data.train, steps=4, rate=1e-2, film=True, **EMA)
    return train(tmp_path_factory.mktemp("tasks"), content)


def untrained(folder: Path, params: inputs.Section, build: object = build_model) -> Path:
    """A checkpoint of initial weights, as the trainer lays it out."""
    model = build(params)  # type: ignore[operator]
    state = {f"model.Default.{key}": value for key, value in model.state_dict().items()}
    state["_extra_state"] = {"model_params": params, "train_infos": {"lr": 0.0, "step": 0}}
    path = folder / "untrained.pt"
    torch.save({"model": state}, path)
    return path
