"""What ``dpa4 convert`` writes is tested, restarted and fine-tuned by the target; the report sees differences."""

from pathlib import Path

import numpy as np
import pytest
import torch

from deepmd_dpa4.checkpoint.convert import Conversion
from deepmd_dpa4.checkpoint.summary import summarize
from deepmd_dpa4.cli import main
from deepmd_dpa4.freeze.parity_report import Side, report
from deepmd_dpa4.freeze.parity_report import predict as predict_by
from tests.host.test_official_files import details
from tests.support import inputs
from tests.support.commands import dp
from tests.support.predict import deep_pot, difference, predict
from tests.support.runs import Data, Run, train

EMA = {"enable_ema": True, "ema_decay": 0.8}


def training(data: Data, section: inputs.Section, steps: int = 6, **options: object) -> inputs.Section:
    return {"model": section} | inputs.training(data.train, None, steps, inputs.FROZEN_RATE, **options)


def forces(path: Path, data: Data, folder: Path, official: bool) -> np.ndarray:
    return details(path, data, folder, official)["f"]


@pytest.fixture(scope="module")
def neutral(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Of this package, under names that DeePMD-kit does not know, with sections and options it does not know."""
    section = {"type": "emfa", "type_map": ["O", "H"], "kernels": "plain"}
    section["descriptor"] = {key: value for key, value in inputs.SMALL.items() if key != "type"} | {"type": "emfa"}
    content = {"model": section} | inputs.training(data.train, None, 4, 1e-2, **EMA)
    return train(tmp_path_factory.mktemp("neutral"), content)


@pytest.fixture(scope="module")
def from_official(official: Run) -> Path:
    path = official.folder / "plugin.pt"
    assert main(["convert", str(official.checkpoint), "-o", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def from_ours(neutral: Run) -> Path:
    path = neutral.folder / "official.pt"
    assert main(["convert", str(neutral.checkpoint), "-o", str(path), "--to", "official"]) == 0
    return path


@pytest.fixture(scope="module")
def weights(neutral: Run) -> Path:
    path = neutral.folder / "weights.pt"
    assert main(["convert", str(neutral.checkpoint), "-o", str(path), "--to", "official", "--weights-only"]) == 0
    return path


class TestOfficialHere:
    def test_it_predicts_the_same(self, official: Run, from_official: Path, data: Data, tmp_path: Path) -> None:
        there = forces(official.checkpoint, data, tmp_path / "there", True)
        assert difference(forces(from_official, data, tmp_path / "here", False), there) < 1e-5

    def test_training_goes_on(self, from_official: Path, data: Data, tmp_path: Path) -> None:
        run = train(tmp_path, training(data, inputs.model(), **EMA), "--restart", str(from_official))
        assert difference(predict(run.checkpoint, data.frames).force, predict(from_official, data.frames).force) < 1e-5
        states = [
            torch.load(file, weights_only=True)["optimizer"]["state"][0]["step"]
            for file in (from_official, run.checkpoint)
        ]
        assert float(states[1]) > float(states[0]) > 0

    def test_averaged_weights(self, official: Run, data: Data, tmp_path: Path) -> None:
        path = tmp_path / "averaged.pt"
        words = ["convert", str(official.checkpoint), "-o", str(path), "--ema", "--weights-only"]
        assert main(words) == 0
        expected = predict(official.folder / "model_ema.ckpt.pt", data.frames).force
        assert difference(predict(path, data.frames).force, expected) < 1e-6


class TestOursThere:
    def section(self) -> inputs.Section:
        return inputs.model() | {"fitting_net": {"type": "dpa4_ener"}}

    def test_it_predicts_the_same(self, neutral: Run, from_ours: Path, data: Data, tmp_path: Path) -> None:
        here = predict(neutral.checkpoint, data.frames).force.ravel()
        assert difference(forces(from_ours, data, tmp_path, True).ravel(), here) < 1e-5

    def test_training_goes_on(self, from_ours: Path, data: Data, tmp_path: Path) -> None:
        run = train(tmp_path, training(data, self.section(), **EMA), "--restart", str(from_ours), official=True)
        assert "is built by deepmd-dpa4" not in run.log
        assert difference(predict(run.checkpoint, data.frames).force, predict(from_ours, data.frames).force) < 1e-5
        assert summarize(run.checkpoint)["training"]["step"] == 5

    @pytest.mark.parametrize("way", ["--restart", "--init-model", "--finetune"])
    def test_from_weights_alone(self, way: str, weights: Path, data: Data, tmp_path: Path) -> None:
        assert not summarize(weights)["training"]["optimizer"]
        run = train(tmp_path, training(data, self.section()), way, str(weights), official=True)
        assert difference(predict(run.checkpoint, data.frames).force, predict(weights, data.frames).force) < 1e-5

    def test_with_the_options_of_the_file(self, from_ours: Path, data: Data, tmp_path: Path) -> None:
        """Official checks them as those of an input."""
        content = training(data, {"type": "dpa4", "type_map": ["O", "H"], "descriptor": {}, "fitting_net": {}}, 1)
        run = train(tmp_path, content, "--finetune", str(from_ours), "--use-pretrain-script", official=True)
        assert difference(predict(run.checkpoint, data.frames).force, predict(from_ours, data.frames).force) < 1e-5


@pytest.mark.parametrize("to", ["official", "plugin"])
def test_a_branch_is_a_model(tasks: Run, data: Data, to: str, tmp_path: Path) -> None:
    path = tmp_path / "two.pt"
    words = ["convert", str(tasks.checkpoint), "-o", str(path), "--to", to, "--branch", "two", "--weights-only"]
    assert main(words) == 0
    expected = predict(deep_pot(tasks.checkpoint, head="two"), data.frames).force
    assert difference(forces(path, data, tmp_path, to == "official").ravel(), expected.ravel()) < 1e-5
    section = inputs.model(fitting={"dim_case_embd": 2, "case_film_embd": True})
    run = train(tmp_path, training(data, section), "--restart", str(path), official=to == "official")
    assert difference(predict(run.checkpoint, data.frames).force, expected) < 1e-5


def test_all_branches(tasks: Run, data: Data, tmp_path: Path) -> None:
    path = tmp_path / "all.pt"
    assert main(["convert", str(tasks.checkpoint), "-o", str(path), "--to", "official"]) == 0
    expected = predict(deep_pot(tasks.checkpoint, head="one"), data.frames).force
    found = details(path, data, tmp_path, True, "one")["f"]
    assert difference(found.ravel(), expected.ravel()) < 1e-5
    content = inputs.multi_task(data.train, steps=6, rate=inputs.FROZEN_RATE, film=True, **EMA)
    run = train(tmp_path, content, "--restart", str(path), official=True)
    assert difference(predict(deep_pot(run.checkpoint, head="one"), data.frames).force, expected) < 1e-5


class TestReport:
    @pytest.mark.slow
    def test_both_implementations_agree(self, tasks: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "official.pt"
        assert main(["convert", str(tasks.checkpoint), "-o", str(path), "--to", "official", "--report"]) == 0
        printed = capsys.readouterr().out
        for branch in ("one", "two"):
            assert f"{tasks.checkpoint} by deepmd-dpa4 and {path} by DeePMD-kit, branch {branch}" in printed
        assert printed.count("forces  up to") == 2

    @pytest.mark.slow
    def test_it_sees_changed_weights(self, official: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "plugin.pt"
        assert main(["convert", str(official.checkpoint), "-o", str(path)]) == 0
        content = torch.load(path, weights_only=True)
        content["model"]["model.Default.atomic_model.descriptor.radial_basis.adam_freqs"] *= 1.01
        torch.save(content, path)
        with pytest.raises(ValueError, match=r"plugin.pt does not predict the energy of .*model.ckpt.pt"):
            report(official.checkpoint, path, Conversion())
        assert "by DeePMD-kit and" in capsys.readouterr().out

    def test_a_file_that_cannot_be_evaluated(self, neutral: Run) -> None:
        """DeePMD-kit does not know the name."""
        with pytest.raises(ValueError, match=r"cannot be evaluated by DeePMD-kit: .*emfa"):
            predict_by(Side(neutral.checkpoint, None, True), [])


def test_dp_reads_what_was_written_without_optimizer(official: Run, data: Data, tmp_path: Path) -> None:
    """Freezing, showing and shifting the bias take the bare state."""
    path = tmp_path / "weights.pt"
    assert main(["convert", str(official.checkpoint), "-o", str(path), "--weights-only"]) == 0
    dp("freeze", "-c", path, "-o", tmp_path / "model.pth", folder=tmp_path)
    assert difference(predict(tmp_path / "model.pth", data.frames).force, predict(path, data.frames).force) < 1e-5
    assert "['O', 'H']" in dp("show", path, "type-map", folder=tmp_path)
    dp("change-bias", path, "-b", "-1.0", "-2.0", "-o", tmp_path / "shifted.pt", folder=tmp_path)
    assert list(summarize(tmp_path / "shifted.pt")["branches"]["Default"]["bias"].values()) == [-1.0, -2.0]
