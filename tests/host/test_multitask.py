"""Several tasks with one descriptor and one fitting net."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.host.test_train import weights
from tests.support import inputs
from tests.support.commands import dp, errors
from tests.support.predict import assert_same, deep_pot, difference, predict
from tests.support.runs import Data, Run, train

OWN = ("case_embd", "out_bias", "out_std", "bias_atom_e")


def branch(path: Path, name: str) -> dict[str, torch.Tensor]:
    start = f"model.{name}.atomic_model."
    return {key.removeprefix(start): value for key, value in weights(path).items() if key.startswith(start)}


def film(run: Run) -> bool:
    return weights(run.checkpoint)["_extra_state"]["model_params"]["model_dict"]["one"]["fitting_net"]["case_film_embd"]


def test_branches_share_all_but_code_and_bias(multi: Run) -> None:
    one, two = branch(multi.checkpoint, "one"), branch(multi.checkpoint, "two")
    assert one.keys() == two.keys()
    assert any(key.startswith("descriptor.") for key in one)
    for key, value in one.items():
        if not key.endswith(OWN):
            assert torch.equal(value, two[key]), key
    assert one["fitting_net.case_embd"].tolist() == [1.0, 0.0]
    assert two["fitting_net.case_embd"].tolist() == [0.0, 1.0]


def test_the_task_code_reaches_the_prediction(multi: Run, data: Data) -> None:
    one, two = (predict(deep_pot(multi.checkpoint, head=name), data.frames) for name in ("one", "two"))
    assert difference(one.force, two.force) > 1e-4


def test_freeze_and_test_of_a_head(multi: Run, data: Data, tmp_path: Path) -> None:
    for name in ("one", "two"):
        dp("freeze", "-c", multi.checkpoint, "-o", tmp_path / f"{name}.pth", "--head", name, folder=tmp_path)
        expected = predict(deep_pot(multi.checkpoint, head=name), data.frames)
        assert_same(predict(tmp_path / f"{name}.pth", data.frames), expected)
    printed = dp("test", "-m", multi.checkpoint, "--head", "two", "-s", data.valid, "-n", "5", folder=tmp_path)
    error = np.sqrt(((expected.force - data.frames.force) ** 2).mean())
    assert errors(printed)["Force"] == pytest.approx(error, rel=1e-4)


def test_an_unknown_head_is_named(multi: Run, data: Data, tmp_path: Path) -> None:
    printed = dp("test", "-m", multi.checkpoint, "--head", "three", "-s", data.valid, folder=tmp_path, fails=True)
    assert "three" in printed
    assert "one" in printed


def test_restart_of_a_multi_task_training(multi: Run, data: Data, tmp_path: Path) -> None:
    content = inputs.multi_task(data.train, steps=10, rate=inputs.FROZEN_RATE, film=film(multi))
    content["learning_rate"] |= inputs.VANISHING
    run = train(tmp_path, content, "--restart", str(multi.checkpoint))
    for name in ("one", "two"):
        before, after = (predict(deep_pot(r.checkpoint, head=name), data.frames) for r in (multi, run))
        assert_same(after, before)


def test_finetune_from_a_branch(multi: Run, data: Data, tmp_path: Path) -> None:
    """Single task: the code stays that of the branch, so forces do not change; types are reordered on the way."""
    section = inputs.model(fitting={"dim_case_embd": 2, "case_film_embd": film(multi)}) | {"type_map": ["H", "O"]}
    content = {"model": section} | inputs.training(data.train, None, 1, inputs.FROZEN_RATE)
    run = train(tmp_path, content, "--finetune", str(multi.checkpoint), "--model-branch", "two")
    before = predict(deep_pot(multi.checkpoint, head="two"), data.frames)
    after = predict(run.checkpoint, data.frames, types=(1, 0, 0, 1, 0, 0))
    assert difference(after.force, before.force) < 1e-5


def test_finetune_with_a_random_fitting_net(multi: Run, data: Data, tmp_path: Path) -> None:
    section = inputs.model(fitting={"seed": 5})
    content = {"model": section} | inputs.training(data.train, None, 1, inputs.FROZEN_RATE)
    run = train(tmp_path, content, "--finetune", str(multi.checkpoint), "--model-branch", "RANDOM")
    source, result = branch(multi.checkpoint, "one"), branch(run.checkpoint, "Default")
    for key, value in result.items():
        if key.startswith("descriptor."):
            assert torch.equal(value, source[key]), key
    matrices = [key for key in result if key.startswith("fitting_net.") and result[key].dim() == 2]
    differ = [source[key].shape != result[key].shape or not torch.equal(source[key], result[key]) for key in matrices]
    assert any(differ)
    assert np.isfinite(predict(run.checkpoint, data.frames).force).all()


def test_finetune_into_several_tasks(multi: Run, data: Data, tmp_path: Path) -> None:
    """Each task goes on from the other one."""
    content = inputs.multi_task(data.train, steps=1, rate=inputs.FROZEN_RATE, film=film(multi))
    source = {"one": "two", "two": "one"}
    for name, other in source.items():
        content["model"]["model_dict"][name]["finetune_head"] = other
    run = train(tmp_path, content, "--finetune", str(multi.checkpoint))
    for name, other in source.items():
        before = predict(deep_pot(multi.checkpoint, head=other), data.frames)
        after = predict(deep_pot(run.checkpoint, head=name), data.frames)
        assert difference(after.force, before.force) < 1e-5


def test_change_bias_of_a_branch(multi: Run, data: Data, tmp_path: Path) -> None:
    target = tmp_path / "changed.pt"
    values = ["-b", "-7.0", "-2.0", "--model-branch", "two"]
    dp("change-bias", multi.checkpoint, *values, "-o", target, folder=tmp_path)
    assert branch(target, "two")["out_bias"].flatten().tolist() == [-7.0, -2.0]
    assert torch.equal(branch(target, "one")["out_bias"], branch(multi.checkpoint, "one")["out_bias"])
