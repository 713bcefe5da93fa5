"""Checkpoints of the built-in DPA4 and of this package are the same files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.host.test_train import weights
from tests.support import inputs
from tests.support.commands import dp
from tests.support.official import needs_official
from tests.support.predict import difference, predict
from tests.support.runs import Data, Run, train

pytestmark = needs_official

EMA = {"enable_ema": True, "ema_decay": 0.8}


def details(path: Path, data: Data, folder: Path, official: bool, head: str | None = None) -> dict[str, np.ndarray]:
    """What ``dp test`` predicts."""
    # no dot: the host puts its endings in place of what follows one
    name = "-".join(["official" if official else "ours", path.name.split(".")[0], head or "single"])
    which = ["--head", head] if head else []
    dp("test", "-m", path, *which, "-s", data.valid, "-n", "5", "-d", name, folder=folder, official=official)
    files = {kind: folder / f"{name}.{kind}.out" for kind in ("e", "f", "v")}
    tables = {kind: np.loadtxt(file) for kind, file in files.items()}
    return {kind: table[:, table.shape[1] // 2 :] for kind, table in tables.items()}


def assert_same_predictions(path: Path, data: Data, folder: Path, head: str | None = None) -> None:
    ours, theirs = (details(path, data, folder, official, head) for official in (False, True))
    for kind, value in theirs.items():
        assert difference(ours[kind], value) < 1e-5, kind


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "ema"])
def official(request: pytest.FixtureRequest, data: Data, tmp_path_factory: pytest.TempPathFactory) -> Run:
    options = EMA if request.param else {}
    content = {"model": inputs.model()} | inputs.training(data.train, None, 4, 1e-2, **options)
    return train(tmp_path_factory.mktemp("official"), content, official=True)


def files(run: Run) -> list[Path]:
    """The checkpoint, and beside it the one with averaged weights."""
    return [path for path in (run.checkpoint, run.folder / "model_ema.ckpt.pt") if path.exists()]


def test_official_checkpoints_predict_the_same_here(official: Run, data: Data, tmp_path: Path) -> None:
    assert "is built by deepmd-dpa4" not in official.log
    found = files(official)
    averaged = "ema" in torch.load(official.checkpoint, weights_only=True)
    assert len(found) == (2 if averaged else 1)
    for path in found:
        assert_same_predictions(path, data, tmp_path)
    if averaged:
        assert difference(*(predict(path, data.frames).force for path in found)) > 1e-4


def test_official_checkpoints_freeze_here(official: Run, data: Data, tmp_path: Path) -> None:
    for path in files(official):
        target = tmp_path / f"{path.stem}.pth"
        dp("freeze", "-c", path, "-o", target, folder=tmp_path)
        assert difference(predict(target, data.frames).force, predict(path, data.frames).force) < 1e-5


def test_official_training_goes_on_here(official: Run, data: Data, tmp_path: Path) -> None:
    averaged = len(files(official)) == 2
    options = EMA if averaged else {}
    content = {"model": inputs.model()} | inputs.training(data.train, None, 6, inputs.FROZEN_RATE, **options)
    run = train(tmp_path, content, "--restart", str(official.checkpoint))
    forces = [predict(r.checkpoint, data.frames).force for r in (run, official)]
    assert difference(*forces) < 1e-5
    if averaged:
        kept = torch.load(run.checkpoint, weights_only=True)["ema"]["model"]
        assert kept.keys() == torch.load(official.checkpoint, weights_only=True)["ema"]["model"].keys()


def test_official_checkpoint_is_finetuned_here(official: Run, data: Data, tmp_path: Path) -> None:
    section = inputs.model() | {"type_map": ["H", "C", "O"]}
    content = {"model": section} | inputs.training(data.train, None, 1, inputs.FROZEN_RATE)
    for path in files(official):
        run = train(tmp_path / path.stem, content, "--finetune", str(path))
        before = predict(path, data.frames)
        after = predict(run.checkpoint, data.frames, types=(2, 0, 0, 2, 0, 0))
        assert difference(after.force, before.force) < 1e-5


@pytest.fixture(scope="module")
def ours(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Run:
    content = {"model": inputs.model(inputs.DESCRIPTOR)} | inputs.training(data.train, None, 4, 1e-2, **EMA)
    return train(tmp_path_factory.mktemp("ours"), content)


def test_our_checkpoints_predict_the_same_there(ours: Run, data: Data, tmp_path: Path) -> None:
    assert len(files(ours)) == 2
    for path in files(ours):
        assert_same_predictions(path, data, tmp_path)


def test_our_training_goes_on_there(ours: Run, data: Data, tmp_path: Path) -> None:
    """Official loads every key strictly, optimizer state by position of the parameters."""
    section = inputs.model(inputs.DESCRIPTOR)
    content = {"model": section} | inputs.training(data.train, None, 5, inputs.FROZEN_RATE, **EMA)
    run = train(tmp_path, content, "--restart", str(ours.checkpoint), official=True)
    names = [list(weights(r.checkpoint)) for r in (ours, run)]
    assert set(names[0]) == set(names[1])
    states = [torch.load(r.checkpoint, weights_only=True)["optimizer"]["state"] for r in (ours, run)]
    shapes = [{key: value["exp_avg"].shape for key, value in state.items()} for state in states]
    assert shapes[0] == shapes[1]


def test_multi_task_checkpoints(multi: Run, data: Data, tmp_path: Path) -> None:
    """Ours there; and official's here."""
    for head in ("one", "two"):
        assert_same_predictions(multi.checkpoint, data, tmp_path, head)


@pytest.mark.parametrize("film", [False, True])
def test_official_multi_task_checkpoints(data: Data, film: bool, tmp_path: Path) -> None:
    run = train(tmp_path, inputs.multi_task(data.train, steps=3, rate=1e-2, film=film, **EMA), official=True)
    for path in files(run):
        for head in ("one", "two"):
            assert_same_predictions(path, data, tmp_path, head)
