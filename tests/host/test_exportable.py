"""Checkpoints of DeePMD-kit's backend ``pt-expt`` hold the same network under other names."""

from pathlib import Path
from typing import Any

import pytest
import torch

from deepmd_dpa4.checkpoint.summary import summarize
from deepmd_dpa4.cli import main
from deepmd_dpa4.detection import is_ours
from deepmd_dpa4.host.build import build_model
from deepmd_dpa4.host.model import ModelDPA4
from tests.host.test_official_files import details
from tests.support import inputs
from tests.support.checkpoints import ALL
from tests.support.commands import BIN, call, dp, environment
from tests.support.official import needs_official
from tests.support.predict import SINGLE, assert_same, deep_pot, difference, predict
from tests.support.runs import Data, Run

pytestmark = needs_official


def exportable(section: dict[str, Any]) -> torch.nn.Module:
    from deepmd.pt_expt.model.get_model import get_model

    return get_model(section)


@pytest.mark.parametrize("name", [name for name in ALL if name != "zone bridging"])
def test_names_of_every_option(name: str) -> None:
    """Strictly: nothing is missing or unknown, and parameters stand in the same order, as the optimizer counts them."""
    try:
        theirs = exportable(ALL[name])
    except NotImplementedError:
        pytest.skip("this option is not there")
    model = build_model(ALL[name])
    model.load_state_dict(theirs.state_dict(), strict=True)
    for (key, own), (_, other) in zip(model.named_parameters(), theirs.named_parameters(), strict=True):
        torch.testing.assert_close(own, other.to(own), rtol=0, atol=0, msg=key)


@pytest.fixture(scope="module")
def run(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("exportable")
    content = {"model": inputs.model()} | inputs.training(data.train, None, 4, 1e-2)
    name = inputs.write(folder, content)
    return Run(folder, call([BIN / "dp", "--pt-expt", "train", name], folder, environment()))


def test_deep_pot_runs_ours(run: Run, data: Data, tmp_path: Path) -> None:
    potential = deep_pot(run.checkpoint)
    assert isinstance(potential.deep_eval.dp.model["Default"], ModelDPA4)
    found = predict(potential, data.frames).force
    expected = details(run.checkpoint, data, tmp_path, True)["f"]
    assert difference(found.reshape(expected.shape), expected) < SINGLE


def test_info_and_freeze(run: Run, data: Data, tmp_path: Path) -> None:
    summary = summarize(run.checkpoint)
    assert summary["parameters"]["total"] == sum(p.numel() for p in build_model(inputs.model()).parameters())
    assert summary["uses"][0] == "dp --pt train INPUT --restart FILE"
    assert main(["freeze", str(run.checkpoint), "-o", str(tmp_path / "model.pth")]) == 0
    assert_same(predict(tmp_path / "model.pth", data.frames), predict(run.checkpoint, data.frames))


@pytest.mark.parametrize("option", ["--restart", "--init-model", "--finetune"])
def test_training_goes_on(run: Run, data: Data, option: str, tmp_path: Path) -> None:
    content = {"model": inputs.model()} | inputs.training(data.train, None, 6, inputs.FROZEN_RATE)
    dp("train", inputs.write(tmp_path, content), option, run.checkpoint, folder=tmp_path)
    found = predict(tmp_path / "model.ckpt.pt", data.frames).force
    assert difference(found, predict(run.checkpoint, data.frames).force) < SINGLE
    if option == "--restart":
        states = [
            torch.load(file, weights_only=True)["optimizer"]["state"][0]["step"]
            for file in (run.checkpoint, tmp_path / "model.ckpt.pt")
        ]
        assert float(states[1]) > float(states[0]) > 0


def test_zone_bridging_stays_there(tmp_path: Path) -> None:
    params = ALL["zone bridging"]
    state = {f"model.Default.{key}": value for key, value in exportable(params).state_dict().items()}
    extra = {"model_params": params, "train_infos": {"lr": 0.0, "step": 0}}
    torch.save({"model": {**state, "_extra_state": extra}}, tmp_path / "model.pt")
    assert not is_ours(tmp_path / "model.pt")


def test_other_files_are_left_to_others(data: Data, tmp_path: Path) -> None:
    assert not is_ours(tmp_path / "absent.pt")
    (tmp_path / "junk.pt").write_text("junk")
    assert not is_ours(tmp_path / "junk.pt")
    assert not is_ours(tmp_path / "model.pt2")
