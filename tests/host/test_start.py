"""The checkpoint that a training starts from: found before anything else, and of the right architecture."""

import json
from pathlib import Path

import pytest

from tests.support import inputs
from tests.support.commands import dp
from tests.support.runs import Data, Run, train

OTHER = {"type_map": ["O", "H"], "descriptor": inputs.SE_A, "fitting_net": {"neuron": [4]}}


@pytest.fixture(scope="module")
def other(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A training of another architecture."""
    return train(tmp_path_factory.mktemp("other"), {"model": OTHER} | inputs.training(data.train, None, 1))


def content(data: Data, steps: int = 1) -> inputs.Section:
    return {"model": inputs.model(inputs.DESCRIPTOR)} | inputs.training(data.train, None, steps, inputs.FROZEN_RATE)


@pytest.mark.parametrize("option", ["--finetune", "--init-model", "--restart", "--init-frz-model"])
def test_a_file_that_is_not_there(option: str, data: Data, tmp_path: Path) -> None:
    name = inputs.write(tmp_path, content(data))
    told = dp("train", name, option, "missing.pt", folder=tmp_path, fails=True, fresh=True)
    assert f"dp: error: `{option}` is missing.pt but there is no such file" in told
    assert "Traceback" not in told


def test_a_folder_without_a_training(data: Data, tmp_path: Path) -> None:
    name = inputs.write(tmp_path, content(data))
    (tmp_path / "empty").mkdir()
    told = dp("train", name, "--finetune", "empty", folder=tmp_path, fails=True)
    assert "`--finetune` is empty but this folder holds no training: no file `checkpoint`" in told


@pytest.mark.parametrize("option", ["--finetune", "--restart"])
def test_a_folder_stands_for_its_newest_checkpoint(option: str, data: Data, trained: Run, tmp_path: Path) -> None:
    made = max(int(path.stem.rpartition("-")[2]) for path in trained.folder.glob("model.ckpt-*.pt"))
    steps = made + 1 if option == "--restart" else 1
    run = train(tmp_path, content(data, steps), option, str(trained.folder))
    assert (run.folder / f"model.ckpt-{steps}.pt").exists()


@pytest.mark.parametrize("words", [("--finetune",), ("--finetune", "--use-pretrain-script"), ("--init-model",)])
def test_another_architecture(words: tuple[str, ...], data: Data, other: Run, tmp_path: Path) -> None:
    name = inputs.write(tmp_path, content(data))
    told = dp("train", name, words[0], other.checkpoint, *words[1:], folder=tmp_path, fails=True)
    assert f"`{words[0]}` is {other.checkpoint}, which holds se_e2_a: its weights cannot start a DPA4" in told


def test_a_descriptor_in_a_model_of_deepmd_kit(data: Data, tmp_path: Path) -> None:
    """The type of the model is what a user of other descriptors never writes."""
    section = {
        key: value for key, value in inputs.model(inputs.DESCRIPTOR).items() if key not in ("type", "fitting_net")
    }
    section |= {"descriptor": section["descriptor"] | {"type": "dpa4"}, "fitting_net": {"neuron": [4]}}
    run = train(tmp_path, {"model": section} | inputs.training(data.train, None, 1))
    assert "`model/type` is left out, so DeePMD-kit builds a model of its own around the descriptor 'dpa4'" in run.log
    assert json.loads((tmp_path / "input.json").read_text())["model"].get("type") is None
