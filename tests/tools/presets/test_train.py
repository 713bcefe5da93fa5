"""Inputs of ``dpa4 init`` train by ``dp --pt train``, as they are but for the number of steps."""

from pathlib import Path

import pytest
import torch

from deepmd_dpa4.tools.presets.sizes import SIZES
from tests.examples.snippets import copy_examples
from tests.support.commands import dp
from tests.support.init_command import init

SHORT = ("--steps", 2, "--batch-size", 1)
QUICK = ("--set", "optimizer.enable_gram=false")
"""The published optimizer would compile a kernel first."""


@pytest.fixture(scope="module")
def water(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_examples(tmp_path_factory.mktemp("train"))


@pytest.fixture
def here(water: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the water example, where the paths of its data hold."""
    monkeypatch.chdir(water)
    return water


def parameters(checkpoint: Path) -> dict[str, torch.Tensor]:
    weights = torch.load(checkpoint, weights_only=True)["model"]
    return {key: value for key, value in weights.items() if isinstance(value, torch.Tensor)}


def test_published_schedule(here: Path, tmp_path: Path) -> None:
    init(tmp_path, "nano", "--data", here / "data/train", "--validation", here / "data/valid", *SHORT, *QUICK)
    printed = dp("train", "input.json", folder=tmp_path)
    assert "built by deepmd-dpa4" in printed
    assert f"Model Params:  {SIZES['nano'].parameters(2) / 1e6:.3f} M" in printed
    assert "val: mae_e" in printed
    weights, averages = (parameters(tmp_path / name) for name in ("model.ckpt-2.pt", "model_ema.ckpt-2.pt"))
    assert any(not torch.equal(weights[key], averages[key]) for key in weights)


def test_few_data(here: Path, tmp_path: Path) -> None:
    """The rate warms up to 3e-3 and falls to 1e-5 within the steps."""
    words = ("--data", here / "data/train", "--steps", 20, "--batch-size", 1, "--set", "training.disp_freq=1")
    init(tmp_path, "nano", "--task", "small", *words)
    assert "built by deepmd-dpa4" in dp("train", "input.json", folder=tmp_path)
    rates = [float(line.split()[-1]) for line in (tmp_path / "lcurve.out").read_text().splitlines() if line[0] != "#"]
    assert max(rates) == pytest.approx(3e-3)
    assert rates[-1] < 1e-4


@pytest.mark.slow
def test_tasks(here: Path) -> None:
    """Two branches, then a fine-tuning from one of them with the network of the same name."""
    words = ["--data", "water=data/train", "alloy=../alloy/data/train", "--validation", "water=data/valid"]
    init(here, "nano", "--task", "multitask", *words, *SHORT, *QUICK)
    printed = dp("train", "input.json", folder=here)
    assert printed.count("built by deepmd-dpa4") == 2
    assert f"Model Params [alloy]: {SIZES['nano'].parameters(4, 2) / 1e6:.3f} M" in printed
    assert all(f"{part}: mae_e" in printed for part in ("water_trn", "water_val", "alloy_trn"))
    (here / "model.ckpt-2.pt").rename(here / "pretrained.pt")

    init(here, "nano", "--task", "finetune", "--data", "data/train", *SHORT, *QUICK)
    printed = dp("train", "input.json", "--finetune", "pretrained.pt", "--model-branch", "water", folder=here)
    assert "Change output bias of ['H', 'O']" in printed
    assert (here / "model.ckpt-2.pt").exists()
