"""A checkpoint that does not fit is refused on every path; DeePMD-kit itself would go on with random weights."""

from pathlib import Path

import pytest
import torch

from tests.support import inputs
from tests.support.commands import dp
from tests.support.predict import deep_pot
from tests.support.runs import Data, Run

START = "model.Default.atomic_model."


@pytest.fixture(scope="module", params=["missing", "unexpected"])
def broken(request: pytest.FixtureRequest, trained: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A file and the key that its refusal has to name."""
    content = torch.load(trained.checkpoint, weights_only=True)
    state = content["model"]
    if request.param == "missing":
        key = next(name for name in state if name.startswith(START + "fitting_net.") and state[name].dim() == 2)
        del state[key]
    else:
        key = START + "descriptor.blocks.7.so2_conv.pre_focus_mix.weight"
        state[key] = torch.zeros(2, 2)
    path = tmp_path_factory.mktemp("broken") / f"{request.param}.pt"
    torch.save(content, path)
    return path, key.removeprefix("model.Default.")


def test_deep_pot(broken: tuple[Path, str]) -> None:
    path, key = broken
    with pytest.raises(RuntimeError, match="does not fit") as caught:
        deep_pot(path)
    assert key in str(caught.value)


def test_freeze(broken: tuple[Path, str], tmp_path: Path) -> None:
    path, key = broken
    assert key in dp("freeze", "-c", path, "-o", "model.pth", folder=tmp_path, fails=True)
    assert not (tmp_path / "model.pth").exists()


@pytest.mark.parametrize("option", ["--restart", "--init-model", "--finetune"])
def test_training(broken: tuple[Path, str], data: Data, option: str, tmp_path: Path) -> None:
    path, key = broken
    content = {"model": inputs.model(inputs.DESCRIPTOR)} | inputs.training(data.train, steps=70)
    name = inputs.write(tmp_path, content)
    assert key in dp("train", name, option, path, "--skip-neighbor-stat", folder=tmp_path, fails=True)


def test_change_bias(broken: tuple[Path, str], tmp_path: Path) -> None:
    path, key = broken
    assert key in dp("change-bias", path, "-b", "1", "2", "-o", tmp_path / "out.pt", folder=tmp_path, fails=True)


def test_another_architecture(trained: Run, data: Data, tmp_path: Path) -> None:
    content = {"model": inputs.model(inputs.DESCRIPTOR | {"n_blocks": 3})} | inputs.training(data.train, steps=70)
    name = inputs.write(tmp_path, content)
    printed = dp("train", name, "--init-model", trained.checkpoint, folder=tmp_path, fails=True)
    assert "blocks.2." in printed
