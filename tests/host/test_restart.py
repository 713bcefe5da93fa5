"""A restarted training is the one that was not stopped, and of the same model."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepmd_dpa4.config import ConfigError
from deepmd_dpa4.host.builtin import available
from deepmd_dpa4.host.changed_options import check_options
from tests.host.test_bad_input import complaint
from tests.host.test_train import steps, weights
from tests.support import inputs
from tests.support.runs import Data, Run, train
from tests.support.toy import toy_frames, write_system


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_system(tmp_path_factory.mktemp("frame") / "single", toy_frames(1, seed=3))


def content(frame: Path, number: int, **options: Any) -> inputs.Section:
    """A training whose learning rate falls at every step, whatever its length."""
    result = {"model": inputs.model()} | inputs.training(frame, None, number, 5e-3, save_freq=3, **options)
    result["training"]["training_data"]["batch_size"] = 1
    result["learning_rate"] = {"type": "exp", "start_lr": 5e-3, "decay_steps": 1, "decay_rate": 0.9, "stop_lr": 1e-12}
    return result


@pytest.fixture(scope="module")
def six(frame: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Six steps; checkpoints after 3 and 6."""
    return train(tmp_path_factory.mktemp("six"), content(frame, 6), "--skip-neighbor-stat")


@pytest.fixture(scope="module")
def three(frame: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(tmp_path_factory.mktemp("three"), content(frame, 3), "--skip-neighbor-stat")


def test_three_and_three_steps_are_six(six: Run, three: Run, frame: Path, tmp_path: Path) -> None:
    again = train(tmp_path, content(frame, 6), "--restart", str(three.checkpoint), "--skip-neighbor-stat")
    expected, found = (torch.load(run.checkpoint, weights_only=True) for run in (six, again))
    assert any(
        not torch.equal(value, weights(three.checkpoint)[key])
        for key, value in expected["model"].items()
        if key != "_extra_state"
    )
    for key, value in expected["model"].items():
        if key == "_extra_state":
            assert found["model"][key]["train_infos"] == value["train_infos"]
        else:
            assert torch.equal(found["model"][key], value), key
    for number, state in expected["optimizer"]["state"].items():
        assert all(torch.equal(found["optimizer"]["state"][number][key], part) for key, part in state.items())
    rates = [[group["lr"] for group in file["optimizer"]["param_groups"]] for file in (expected, found)]
    assert rates[0] == rates[1]
    curves = [np.loadtxt(run.folder / "lcurve.out") for run in (six, again)]
    assert steps(again.folder) == [4, 5, 6]
    np.testing.assert_array_equal(curves[1], curves[0][3:])


def test_a_finished_training_stays_as_it_is(three: Run, frame: Path, tmp_path: Path) -> None:
    run = train(tmp_path, content(frame, 3), "--restart", str(three.checkpoint), "--skip-neighbor-stat")
    assert "has made all 3 steps: raise `training/numb_steps` (now 3)" in run.log
    assert not run.checkpoint.exists()


def test_a_checkpoint_of_no_steps_begins_with_the_first(frame: Path, tmp_path: Path) -> None:
    none = train(tmp_path / "none", content(frame, 0), "--skip-neighbor-stat")
    run = train(tmp_path, content(frame, 2), "--restart", str(none.checkpoint), "--skip-neighbor-stat")
    assert steps(run.folder) == [1, 2]


def test_initial_weights_count_anew(three: Run, frame: Path, tmp_path: Path) -> None:
    run = train(tmp_path, content(frame, 2), "--init-model", str(three.checkpoint), "--skip-neighbor-stat")
    assert steps(run.folder) == [1, 2]
    assert "options differ" not in run.log


@pytest.mark.skipif(not available(), reason="DeePMD-kit 3.1 has no built-in DPA4")
def test_other_models_are_left_alone(frame: Path, tmp_path: Path) -> None:
    """DeePMD-kit repeats their last step."""
    section = {"type_map": ["O", "H"], "descriptor": inputs.SE_A, "fitting_net": {"neuron": [4], "seed": 1}}
    first = train(tmp_path / "first", content(frame, 3) | {"model": section})
    again = train(tmp_path / "again", content(frame, 5) | {"model": section}, "--restart", str(first.checkpoint))
    assert steps(again.folder) == [3, 4, 5]


ORDER = ({"type_map": ["H", "O"]}, ("`model/type_map` is ['H', 'O'] but must be ['O', 'H']", "--finetune"))
# change of the model section, with `/` between keys, and what the message has to say
CHANGES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "order of elements": ORDER,
    "one element more": ({"type_map": ["O", "H", "C"]}, ("must be ['O', 'H']",)),
    "rcut": ({"descriptor/rcut": 5.0}, ("model/descriptor/rcut 3.5 -> 5.0",)),
    "two": (
        {"descriptor/edge_norm": False, "fitting_net/activation_function": "tanh"},
        ("model/descriptor/edge_norm True -> False", "model/fitting_net/activation_function 'silu' -> 'tanh'"),
    ),
    "exponents": ({"descriptor/env_exp": [5, 5]}, ("model/descriptor/env_exp [7, 5] -> [5, 5]",)),
    "one envelope": ({"descriptor/env_exp": 5}, ("model/descriptor/env_exp [7, 5] -> 5",)),
    "another basis": ({"descriptor/basis_type": "gaussian/fix"}, ("basis_type 'bessel' -> 'gaussian/fix'",)),
    "repulsion": ({"bridging_method": "zbl"}, ("model/bridging_method", "-> 'zbl'")),
    "excluded pair": ({"pair_exclude_types": [[0, 0]]}, ("model/pair_exclude_types [] -> [[0, 0]]",)),
    "the same in the descriptor": (
        {"descriptor/exclude_types": [[0, 0]]},
        ("model/pair_exclude_types [] -> [[0, 0]]",),
    ),
    "width": ({"descriptor/channels": 16}, ("model/descriptor/channels 8 -> 16",)),
}


def changed(change: dict[str, Any]) -> inputs.Section:
    section = copy.deepcopy(inputs.model())
    for path, value in change.items():
        place = section
        for key in path.split("/")[:-1]:
            place = place[key]
        place[path.split("/")[-1]] = value
    return section


@pytest.mark.parametrize("name", CHANGES)
def test_a_restart_with_other_options_is_refused(name: str, three: Run) -> None:
    change, wanted = CHANGES[name]
    with pytest.raises(ConfigError) as error:
        check_options({"model": changed(change)}, str(three.checkpoint), True)
    for part in wanted:
        assert part in str(error.value)


@pytest.mark.parametrize("name", CHANGES)
def test_initial_weights_with_other_options_are_a_warning(
    name: str, three: Run, caplog: pytest.LogCaptureFixture
) -> None:
    change, wanted = CHANGES[name]
    if "type_map" in change:
        with pytest.raises(ConfigError, match="type_map"):
            check_options({"model": changed(change)}, str(three.checkpoint), False)
        return
    with caplog.at_level("WARNING", "deepmd.dpa4"):
        check_options({"model": changed(change)}, str(three.checkpoint), False)
    (record,) = caplog.records
    assert record.message.startswith("options differ from the checkpoint: model/")
    for part in wanted:
        assert part in record.message


@pytest.mark.parametrize(
    "change",
    [
        {"descriptor/sel": 80, "descriptor/seed": 7, "kernels": "plain", "enable_tf32": False},
        {"descriptor/type": "DPA4", "type": "DPA4"},
        {"fitting_net/activation_function": "SiLU", "descriptor/env_exp": (7, 5)},
        {"descriptor/lmax": 1, "descriptor/basis_type": "bessel"},
        {"descriptor/so2_norm": False, "fitting_net/atom_ener": [], "hessian_mode": False},
    ],
    ids=["without effect", "another name", "another spelling", "defaults spelled out", "neutral values"],
)
@pytest.mark.parametrize("restart", [True, False])
def test_the_same_options_are_no_change(
    change: dict[str, Any], restart: bool, three: Run, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "deepmd.dpa4"):
        check_options({"model": changed(change)}, str(three.checkpoint), restart)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"descriptor/trainable": False}, "model/descriptor/trainable True -> False"),
        ({"descriptor/basis_type": "bessel/fix"}, "model/descriptor/basis_type 'bessel' -> 'bessel/fix'"),
        ({"radial_optimizer": "adamw"}, "model/radial_optimizer 'auto' -> 'adamw'"),
    ],
    ids=["trainable", "fixed basis", "optimizer"],
)
def test_options_of_training_are_a_warning(
    change: dict[str, Any], told: str, three: Run, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", "deepmd.dpa4"):
        check_options({"model": changed(change)}, str(three.checkpoint), True)
    assert told in caplog.text


def test_branches_are_named(multi: Run) -> None:
    model = torch.load(multi.checkpoint, weights_only=True)["model"]["_extra_state"]["model_params"]
    check_options({"model": copy.deepcopy(model)}, str(multi.checkpoint), True)
    other = copy.deepcopy(model)
    other["model_dict"]["two"]["descriptor"]["rcut"] = 5.0
    with pytest.raises(ConfigError, match=r"model/model_dict/two/descriptor/rcut 3\.5 -> 5\.0; give"):
        check_options({"model": other}, str(multi.checkpoint), True)
    other["model_dict"]["one"]["type_map"] = ["H", "O"]
    with pytest.raises(ConfigError, match="`model/model_dict/one/type_map` is"):
        check_options({"model": other}, str(multi.checkpoint), False)


def test_the_command_refuses_another_order(three: Run, data: Data, tmp_path: Path) -> None:
    section = {"model": changed(ORDER[0])} | inputs.training(data.train, steps=5)
    for option in ("--restart", "--init-model"):
        message = complaint(section, tmp_path, option, str(three.checkpoint), "--skip-neighbor-stat")
        assert len(message.splitlines()) == 1
        for part in ORDER[1]:
            assert part in message
