"""Files of a training: whole under their names whenever it ends, and averages of branches that had no step."""

import math
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepmd_dpa4.host.builtin import available
from deepmd_dpa4.host.latest_checkpoint import Publisher
from deepmd_dpa4.host.trainer import Counts, Guards, guard
from tests.support import inputs
from tests.support.commands import dp, environment
from tests.support.runs import Data, train

pytestmark = pytest.mark.skipif(not available(), reason="the trainer of DeePMD-kit 3.1 writes files in one function")


class Store:
    """Stands for DeePMD-kit's ``CheckpointStore``."""

    def __init__(self, folder: Path) -> None:
        self.prefix, self.suffix = folder / "model.ckpt", ".pt"
        self.pointer_file = folder / "checkpoint"
        self.pruned: list[tuple[str, bool]] = []

    def prune(self, current: Path) -> None:
        self.pruned.append((current.name, current.exists()))


class Trainer:
    """Writes as DeePMD-kit's trainer does, and fails on request."""

    rank = 0
    world_size = 1
    fails = False

    def __init__(self, folder: Path) -> None:
        self.ckpt_store = Store(folder)
        for part in ("training", "validation"):
            setattr(self, f"{part}_data", None)
            setattr(self, f"{part}_dataloader", None)

    def _write_checkpoint(self, save_path: Path, checkpoint_data: dict[str, Any], *, store: Store) -> None:
        if self.rank != 0:
            return
        save_path.write_bytes(b"half")
        if self.fails:
            raise OSError("No space left on device")
        torch.save(checkpoint_data, save_path)
        store.prune(save_path)


@pytest.fixture
def trainer(tmp_path: Path) -> Any:
    made = Trainer(tmp_path)
    guard(made)
    return made


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_writer_that_fails_leaves_the_old_file(trainer: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt-3.pt"
    trainer._write_checkpoint(path, {"model": 1}, store=trainer.ckpt_store)
    assert trainer.ckpt_store.pruned[-1] == ("model.ckpt-3.pt", True)
    trainer.fails = True
    with pytest.raises(OSError, match="No space"):
        trainer._write_checkpoint(path, {"model": 2}, store=trainer.ckpt_store)
    assert torch.load(path, weights_only=True) == {"model": 1}
    assert names(tmp_path) == ["model.ckpt-3.pt"]


def test_other_ranks_write_nothing(trainer: Any, tmp_path: Path) -> None:
    trainer.rank = 1
    trainer._write_checkpoint(tmp_path / "model.ckpt-3.pt", {}, store=trainer.ckpt_store)
    assert names(tmp_path) == []


def test_the_link_is_replaced_at_once(trainer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A publication that dies half-way leaves the link to the file before."""
    link = tmp_path / "model.ckpt.pt"
    for step in (3, 6):
        (tmp_path / f"model.ckpt-{step}.pt").write_text(str(step))
        trainer.ckpt_store.publish(tmp_path / f"model.ckpt-{step}.pt")
        assert link.is_symlink()
        assert link.read_text() == str(step)
        assert link.readlink() == Path(f"model.ckpt-{step}.pt")
        assert (tmp_path / "checkpoint").read_text() == str(tmp_path / f"model.ckpt-{step}.pt")
    (tmp_path / "model.ckpt-9.pt").write_text("9")

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        Publisher(trainer.ckpt_store)(tmp_path / "model.ckpt-9.pt")
    assert link.read_text() == "6"


def test_a_real_training_goes_through_it(data: Data, tmp_path: Path) -> None:
    content = {"model": inputs.model()} | inputs.training(data.train, steps=6, save_freq=2, max_ckpt_keep=2)
    content["training"] |= {"enable_ema": True, "save_ckpt": "ckpt/model.ckpt"}
    (tmp_path / "ckpt").mkdir()
    train(tmp_path, content, "--skip-neighbor-stat")
    kept = [f"{name}{end}" for name in ("model", "model_ema") for end in (".ckpt-4.pt", ".ckpt-6.pt", ".ckpt.pt")]
    assert names(tmp_path / "ckpt") == kept
    assert (tmp_path / "ckpt" / "model.ckpt.pt").readlink() == Path("model.ckpt-6.pt")
    assert (tmp_path / "checkpoint").read_text() == "ckpt/model.ckpt-6.pt"


WRITER = """
import torch
from deepmd.dpmodel.train.checkpoint import CheckpointStore
from deepmd.pt.train.training import Trainer

from deepmd_dpa4.host.trainer import guard

trainer = object.__new__(Trainer)
trainer.world_size = 1
trainer.training_data = trainer.training_dataloader = trainer.validation_data = trainer.validation_dataloader = None
trainer.rank, trainer.ckpt_store = 0, CheckpointStore("model.ckpt", max_keep=2)
guard(trainer)
numbers = torch.rand(2**23)
while True:
    for step in (1, 2, 3):
        path = trainer.ckpt_store.path_for(step)
        trainer._write_checkpoint(path, {"model": {"numbers": numbers}}, store=trainer.ckpt_store)
        trainer.ckpt_store.publish(path)
"""
"""Writes 32 MiB under names that are there already, over and over, by the methods of a real trainer."""


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.005, 0.02])
def test_a_killed_writer_leaves_whole_files(delay: float, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER], cwd=tmp_path, env=environment()) as run:
        deadline = time.monotonic() + 250
        # in the middle of a file, with others there before
        while not (tmp_path / "model.ckpt-3.pt").exists() or not list(tmp_path.glob(".model.ckpt-*.partial")):
            assert run.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(delay)
        run.send_signal(signal.SIGKILL)
    files = list(tmp_path.glob("model.ckpt*.pt"))
    assert tmp_path / "model.ckpt.pt" in files
    for path in files:
        assert torch.load(path, weights_only=True)["model"]["numbers"].numel() == 2**23


def test_averages_of_no_step_are_no_numbers() -> None:
    class Averaging(Guards):
        pass

    trainer = Averaging()
    trainer.step_count_per_task = dict.fromkeys(("one", "two"), 0)  # type: ignore[assignment]
    counts = trainer.step_count_per_task
    counts["one"] += 1
    counts["one"] += 1
    assert counts["one"] == 2
    assert math.isnan(0.0 / counts["two"])
    assert math.isnan(torch.tensor(0.0) / counts["two"])
    counts["one"] = 0
    assert math.isnan(0.0 / counts["one"])
    counts["one"] += 1
    assert 3.0 / counts["one"] == 3.0
    assert isinstance(counts, Counts)


def test_a_branch_without_a_step_does_not_end_the_training(data: Data, tmp_path: Path) -> None:
    content = inputs.multi_task(data.train, steps=40, disp_avg=True)
    content["training"] |= {"disp_freq": 2, "model_prob": {"one": 0.8, "two": 0.2}}
    name = inputs.write(tmp_path, content)
    dp("train", name, "--skip-neighbor-stat", folder=tmp_path)
    rows = [line.split() for line in (tmp_path / "lcurve.out").read_text().splitlines() if not line.startswith("#")]
    assert [int(row[0]) for row in rows] == [1, *range(2, 41, 2)]
    values = np.array([row[1:] for row in rows if len(row) == max(map(len, rows))], dtype=float)
    without = np.isnan(values).any(axis=1)
    assert 0 < without.sum() < len(without)
