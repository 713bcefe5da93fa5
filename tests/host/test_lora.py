"""Low-rank fine-tuning: what is trained, checkpoints and frozen files."""

import re
from pathlib import Path

import pytest
import torch

from tests.host.test_official_files import assert_same_predictions
from tests.support import inputs
from tests.support.commands import dp
from tests.support.official import needs_official
from tests.support.predict import deep_pot, difference, predict
from tests.support.runs import Data, Run, train
from tests.support.toy import toy_frames, write_system

pytestmark = needs_official

LORA = {"rank": 2, "alpha": 3.0}
FACTOR = re.compile(r"\.([AB]_(by_l|m0|m\.\d+)|lora_scaling)$")
FROZEN = re.compile(r"(so3_linear_\d|_focus_mix)\.weight$|weight_m(0|\.\d+)$|type_embedding$|scalar_gate\.weight$")


def weights(path: Path) -> dict[str, torch.Tensor]:
    """Parameters and buffers of a checkpoint."""
    state = torch.load(path, map_location="cpu", weights_only=True)["model"]
    return {key: value for key, value in state.items() if key != "_extra_state"}


def content(data: Data, steps: int = 4, rate: float = 1e-2, **options: object) -> inputs.Section:
    model = inputs.model(inputs.DESCRIPTOR, lora=LORA)
    return {"model": model} | inputs.training(data.train, data.valid, steps, rate, **options)


@pytest.fixture(scope="module")
def finetuned(trained: Run, data: Data, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(tmp_path_factory.mktemp("lora"), content(data), "--finetune", str(trained.checkpoint))


def test_updates_are_trained_and_the_weights_below_are_not(trained: Run, finetuned: Run) -> None:
    assert "is built by deepmd-dpa4" in finetuned.log and "[LoRA] injected" in finetuned.log
    before, after = weights(trained.checkpoint), weights(finetuned.checkpoint)
    assert {key for key in after if FACTOR.search(key)} == after.keys() - before.keys() != set()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert [key for key in changed if FROZEN.search(key)] == []
    assert any("radial_embedding" in key for key in changed) and any("fitting_net" in key for key in changed)
    assert all(bool((value != 0).any()) for key, value in after.items() if "B_by_l" in key or "B_m" in key)


def test_frozen_file_and_other_implementation_predict_the_same(finetuned: Run, data: Data, tmp_path: Path) -> None:
    dp("freeze", "-c", finetuned.checkpoint, "-o", tmp_path / "model.pth", folder=tmp_path)
    frozen, checkpoint = (predict(path, data.frames) for path in (tmp_path / "model.pth", finetuned.checkpoint))
    assert difference(frozen.force, checkpoint.force) < 1e-5
    assert_same_predictions(finetuned.checkpoint, data, tmp_path)


def test_checkpoint_of_the_other_implementation(trained: Run, data: Data, tmp_path: Path) -> None:
    run = train(tmp_path, content(data), "--finetune", str(trained.checkpoint), official=True)
    assert any(FACTOR.search(key) for key in weights(run.checkpoint))
    assert_same_predictions(run.checkpoint, data, tmp_path)


def test_restart_is_exact(trained: Run, tmp_path: Path) -> None:
    """With a single frame, because a restart draws batches anew."""
    system = write_system(tmp_path / "frame", toy_frames(1, seed=3))

    def section(steps: int) -> inputs.Section:
        model = inputs.model(inputs.DESCRIPTOR, lora=LORA)
        result = {"model": model} | inputs.training(system, None, steps, 1e-2, save_freq=2)
        result["training"]["training_data"]["batch_size"] = 1
        return result

    whole = train(tmp_path / "whole", section(5), "--finetune", str(trained.checkpoint))
    again = train(tmp_path / "again", section(5), "--restart", str(whole.folder / "model.ckpt-2.pt"))
    expected, found = weights(whole.checkpoint), weights(again.checkpoint)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_another_rank_starts_from_the_sum(finetuned: Run, data: Data, tmp_path: Path) -> None:
    other = content(data, steps=1, rate=inputs.FROZEN_RATE)
    other["model"]["lora"] = {"rank": 3}
    run = train(tmp_path, other, "--init-model", str(finetuned.checkpoint))
    assert "folded into the weights" in run.log
    assert (
        difference(predict(run.checkpoint, data.frames).force, predict(finetuned.checkpoint, data.frames).force) < 1e-5
    )


def test_fine_tuning_goes_on_in_full(finetuned: Run, data: Data, tmp_path: Path) -> None:
    full = content(data, steps=1, rate=inputs.FROZEN_RATE)
    del full["model"]["lora"]
    run = train(tmp_path, full, "--init-model", str(finetuned.checkpoint))
    assert not any(FACTOR.search(key) for key in weights(run.checkpoint))
    assert (
        difference(predict(run.checkpoint, data.frames).force, predict(finetuned.checkpoint, data.frames).force) < 1e-5
    )


def test_best_checkpoints_are_merged(trained: Run, data: Data, tmp_path: Path) -> None:
    section = content(data, steps=2)
    section["validating"] = {"full_validation": True, "validation_freq": 1, "save_best": True, "full_val_start": 0}
    train(tmp_path, section, "--finetune", str(trained.checkpoint))
    best = sorted(tmp_path.glob("best.ckpt*.pt"))
    assert best and not any(FACTOR.search(key) for key in weights(best[0]))
    predict(best[0], data.frames)


def test_multi_task(multi: Run, data: Data, tmp_path: Path) -> None:
    section = inputs.multi_task(
        data.train, steps=4, rate=1e-2, film=any("case_film" in key for key in weights(multi.checkpoint))
    )
    section["model"]["lora"] = LORA
    run = train(tmp_path / "run", section, "--finetune", str(multi.checkpoint))
    before, after = weights(multi.checkpoint), weights(run.checkpoint)
    assert any(FACTOR.search(key) for key in after)
    assert [key for key in before if FROZEN.search(key) and not torch.equal(before[key], after[key])] == []
    dp("freeze", "-c", run.checkpoint, "-o", tmp_path / "one.pth", "--head", "one", folder=tmp_path)
    pair = [predict(tmp_path / "one.pth", data.frames), predict(deep_pot(run.checkpoint, head="one"), data.frames)]
    assert difference(pair[0].force, pair[1].force) < 1e-5


def test_multi_task_without_a_shared_descriptor(data: Data, tmp_path: Path) -> None:
    section = inputs.multi_task(data.train)
    section["model"]["lora"] = LORA
    for branch in section["model"]["model_dict"].values():
        branch["descriptor"] = inputs.SMALL
    name = inputs.write(tmp_path, section)
    assert "`model/model_dict/one/lora` is" in dp("train", name, folder=tmp_path, fails=True)


def test_branches_with_different_updates(data: Data, tmp_path: Path) -> None:
    section = inputs.multi_task(data.train)
    section["model"]["model_dict"]["two"]["lora"] = LORA
    name = inputs.write(tmp_path, section)
    assert "`model/model_dict/two/lora` is" in dp("train", name, folder=tmp_path, fails=True)


@pytest.mark.parametrize(
    ("lora", "said"), [({"rank": 0}, "`model/lora/rank` is 0"), ({"rank": 1, "alpha": -1.0}, "alpha")]
)
def test_wrong_options(data: Data, lora: inputs.Section, said: str, tmp_path: Path) -> None:
    section = content(data)
    section["model"]["lora"] = lora
    assert said in dp("train", inputs.write(tmp_path, section), folder=tmp_path, fails=True)
