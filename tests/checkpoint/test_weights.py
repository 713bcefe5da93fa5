"""Which step and weights a checkpoint holds is said, and an average that still holds the start is warned of."""

from pathlib import Path

import pytest
import torch

from deepmd_dpa4.checkpoint.read import read_checkpoint
from deepmd_dpa4.checkpoint.weights import steps_needed, weights_of
from deepmd_dpa4.cli import main
from deepmd_dpa4.tools.presets.recipe import ema_decay
from tests.support.runs import Data, Run

EMA = {"enable_ema": True, "ema_decay": 0.8}


def test_last_weights(tasks: Run) -> None:
    weights = weights_of(read_checkpoint(tasks.checkpoint))
    assert weights.text == "model.ckpt-4.pt, step 4, last weights (averaged ones: model_ema.ckpt-4.pt)"
    assert weights.warning is None


def test_an_average_that_holds_the_start(tasks: Run) -> None:
    weights = weights_of(read_checkpoint(tasks.folder / "model_ema.ckpt.pt"))
    assert weights.text == "model_ema.ckpt-4.pt, step 4, averaged weights"
    assert weights.initial_share == pytest.approx(0.8**4)
    assert weights.warning is not None and "initial ones still make 41%" in weights.warning
    assert "train for 21 steps" in weights.warning


def test_an_average_of_many_steps(tasks: Run, tmp_path: Path) -> None:
    content = torch.load(tasks.folder / "model_ema.ckpt.pt", weights_only=True)
    content["model"]["_extra_state"]["train_infos"]["step"] = 999
    torch.save(content, tmp_path / "model_ema.ckpt-1000.pt")
    assert weights_of(read_checkpoint(tmp_path / "model_ema.ckpt-1000.pt")).warning is None


def test_what_official_wrote_tells_no_decay(official: Run) -> None:
    weights = weights_of(read_checkpoint(official.folder / "model_ema.ckpt.pt"))
    assert weights.averaged and weights.decay is None and weights.warning is None


def test_commands_say_it(tasks: Run, data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    averages = str(tasks.folder / "model_ema.ckpt.pt")
    words = ["parity", averages, str(data.valid), "--head", "one", "-o", str(tmp_path / "p.png")]
    assert main(words) == 0
    printed = capsys.readouterr().err
    assert "model: model_ema.ckpt-4.pt, step 4, averaged weights" in printed
    assert "warning: model_ema.ckpt-4.pt holds averaged weights (decay 0.8)" in printed
    assert main(["info", averages]) == 0
    printed = capsys.readouterr().out
    assert "these are averaged weights" in printed and "initial ones still make 41%" in printed
    assert main(["freeze", str(tasks.folder), "--head", "one", "-o", str(tmp_path / "model.pth")]) == 0
    printed = capsys.readouterr().err
    assert "Freezing model.ckpt-4.pt, step 4, last weights (averaged ones: model_ema.ckpt-4.pt)" in printed


@pytest.mark.parametrize("steps", [1, 40, 1000, 4600, 4605, 10**6])
def test_short_trainings_average_over_fewer_steps(steps: int) -> None:
    decay = ema_decay(steps)
    assert decay**steps <= 0.01
    assert decay == 0.999 or steps < steps_needed(0.999)
