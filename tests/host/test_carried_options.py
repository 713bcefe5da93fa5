"""What no weight shows: options of the model that a fine-tuning, a restart or a frozen file starts from."""

from pathlib import Path
from typing import Any

import pytest

from tests.support import inputs
from tests.support.commands import dp
from tests.support.predict import difference, predict
from tests.support.runs import Data, Run, train
from tests.support.toy import toy_frames, write_system

OPTIONS: dict[str, Any] = {
    "bridging_method": "ZBL",
    "bridging_r_inner": 0.3,
    "bridging_r_outer": 1.2,
    "pair_exclude_types": [[0, 1]],
}


@pytest.fixture(scope="module")
def special(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A model with repulsion of nuclei and excluded pairs, of which its weights tell nothing."""
    return train(tmp_path_factory.mktemp("special"), content(data, **OPTIONS) | learning(data))


def learning(data: Data) -> inputs.Section:
    """Steps after which the network, and not the repulsion alone, makes forces."""
    return inputs.training(data.train, None, 4, 1e-2)


def content(data: Data, type_map: tuple[str, ...] = ("O", "H"), **options: Any) -> inputs.Section:
    section = inputs.model(inputs.DESCRIPTOR, **options) | {"type_map": list(type_map)}
    return {"model": section} | inputs.training(data.train, None, 1, inputs.FROZEN_RATE)


def changes(before: Run, after: Run, data: Data, types: tuple[int, ...] | None = None) -> float:
    old = predict(before.checkpoint, data.frames)
    new = (
        predict(after.checkpoint, data.frames) if types is None else predict(after.checkpoint, data.frames, types=types)
    )
    return difference(new.force, old.force)


@pytest.mark.parametrize("type_map", [("O", "H"), ("C", "H", "O")])
def test_the_script_of_the_checkpoint_is_taken_whole(
    type_map: tuple[str, ...], special: Run, data: Data, tmp_path: Path
) -> None:
    """Pairs are excluded by elements, whatever their places in the type map are."""
    words = ("--finetune", str(special.checkpoint), "--use-pretrain-script")
    run = train(tmp_path, content(data, type_map), *words)
    assert "takes from the checkpoint too: " in run.log and "bridging_method" in run.log
    types = None if len(type_map) == 2 else (2, 1, 1, 2, 1, 1)
    assert changes(special, run, data, types) < 1e-6
    assert "whose weights now make another function" not in run.log


def test_excluded_pairs_of_the_descriptor_follow_the_elements(data: Data, tmp_path: Path) -> None:
    one = content(data)
    one["model"]["descriptor"]["exclude_types"] = [[0, 1]]
    before = train(tmp_path / "before", one | learning(data))
    words = ("--finetune", str(before.checkpoint), "--use-pretrain-script")
    after = train(tmp_path / "after", content(data, ("H", "C", "O")), *words)
    assert changes(before, after, data, (2, 0, 0, 2, 0, 0)) < 1e-6


def test_what_is_left_out_is_told(special: Run, data: Data, tmp_path: Path) -> None:
    run = train(tmp_path, content(data), "--finetune", str(special.checkpoint))
    assert "whose weights now make another function" in run.log
    assert "model/bridging_method" in run.log and "exclude_types" in run.log
    assert changes(special, run, data) > 1e-4


def test_what_the_input_gives_stays(special: Run, data: Data, tmp_path: Path) -> None:
    given = content(data, bridging_method="none")
    run = train(tmp_path, given, "--finetune", str(special.checkpoint), "--use-pretrain-script")
    assert "model/bridging_method 'ZBL' -> 'none'" in run.log or "model/bridging_method 'zbl' -> 'none'" in run.log


def test_a_frozen_file_is_compared_too(special: Run, data: Data, tmp_path: Path) -> None:
    dp("freeze", "-c", special.folder, "-o", tmp_path / "model.pth", folder=tmp_path)
    name = inputs.write(tmp_path, content(data, ("H", "O"), **OPTIONS))
    told = dp("train", name, "--init-frz-model", "model.pth", folder=tmp_path, fails=True)
    assert "`model/type_map` is ['H', 'O'] but must be ['O', 'H'], as in model.pth" in told
    other = content(data, **OPTIONS)
    other["model"]["descriptor"]["rcut"] = 2.5
    run = train(tmp_path, other, "--init-frz-model", "model.pth")
    assert "options differ from the checkpoint: model/descriptor/rcut" in run.log


@pytest.mark.parametrize("lora", [{"rank": 3}, None])
def test_a_restart_keeps_its_updates(lora: dict[str, int] | None, trained: Run, data: Data, tmp_path: Path) -> None:
    """Other factors do not fit the state of the optimizer, whose kernels do not look."""
    before = train(tmp_path / "before", content(data, lora={"rank": 2}), "--finetune", str(trained.checkpoint))
    after = content(data, **({} if lora is None else {"lora": lora}))
    after["training"]["numb_steps"] = 3
    (tmp_path / "after").mkdir()
    name = inputs.write(tmp_path / "after", after)
    told = dp("train", name, "--restart", before.checkpoint, folder=tmp_path / "after", fails=True)
    assert "which `--restart` goes on with: model/lora {" in told


@pytest.mark.parametrize(("first", "second"), [("Adam", "HybridMuon"), ("HybridMuon", "AdamW")])
def test_a_restart_keeps_the_kind_of_its_optimizer(first: str, second: str, data: Data, tmp_path: Path) -> None:
    system = write_system(tmp_path / "frames", toy_frames(2, seed=3))
    section = {"model": inputs.model(inputs.DESCRIPTOR)} | inputs.training(system, None, 1)
    before = train(tmp_path / "before", section | {"optimizer": {"type": first}})
    section["training"]["numb_steps"] = 2
    (tmp_path / "after").mkdir()
    name = inputs.write(tmp_path / "after", section | {"optimizer": {"type": second}})
    told = dp("train", name, "--restart", before.checkpoint, folder=tmp_path / "after", fails=True)
    assert f"`optimizer/type` is '{second}' but must be '{first}'" in told


def test_codes_of_branches_need_a_fitting_net_that_knows_them(trained: Run, data: Data, tmp_path: Path) -> None:
    given = content(data)
    given["model"]["fitting_net"]["dim_case_embd"] = 2
    name = inputs.write(tmp_path, given)
    told = dp("train", name, "--finetune", trained.checkpoint, folder=tmp_path, fails=True)
    assert "`model/fitting_net/dim_case_embd` is 2 but must be 0 with the fitting net of" in told
