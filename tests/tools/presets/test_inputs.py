"""What ``dpa4 init`` writes, and what it refuses."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepmd_dpa4.cli import main
from deepmd_dpa4.config import parse_descriptor, parse_fitting
from deepmd_dpa4.config.elements import ELEMENTS
from deepmd_dpa4.host.build import build_model
from deepmd_dpa4.tools.data.frame import Frame, Place
from deepmd_dpa4.tools.data.writer import Layout, Writer
from deepmd_dpa4.tools.presets.check import expanded
from deepmd_dpa4.tools.presets.recipe import STEPS
from deepmd_dpa4.tools.presets.robust import BRIDGING, DESCRIPTOR
from deepmd_dpa4.tools.presets.sizes import FITTING, SIZES
from deepmd_dpa4.tools.presets.text import render
from tests.support.disks import small_disk
from tests.support.init_command import Section, init
from tests.support.runs import Data
from tests.support.toy import toy_frames, write_system


@pytest.fixture
def alloy(tmp_path: Path) -> Path:
    """Data of another kind: Cu and Al, without a cell, hence without virial."""
    return write_system(tmp_path / "alloy", toy_frames(3, seed=2), type_map=("Cu", "Al"), periodic=False)


def models(document: Section) -> list[Section]:
    """Sections of all branches, with what they share."""
    model = document["model"]
    return list(expanded(model)["model_dict"].values()) if "model_dict" in model else [model]


@pytest.mark.parametrize("task", STEPS)
@pytest.mark.parametrize("size", SIZES)
def test_network_and_schedule(size: str, task: str, data: Data, alloy: Path, tmp_path: Path) -> None:
    """DeePMD-kit takes every input, which holds the network and the published training."""
    from deepmd.utils.argcheck import normalize

    words = [f"toy={data.train}", f"alloy={alloy}"] if task == "multitask" else [data.train]
    document = init(tmp_path, size, "--task", task, "--data", *words)
    network = parse_descriptor(SIZES[size].descriptor() | {"seed": 1, "sel": "auto"})
    for model in models(document):
        options = {key: value for key, value in model["descriptor"].items() if key not in ("type", "_comment")}
        assert parse_descriptor(options) == network
        assert model["fitting_net"].items() >= FITTING.items()
    full = copy.deepcopy(document)
    if task == "multitask":
        full["model"] = expanded(full["model"])
    full = normalize(full, multi_task=task == "multitask")
    assert full["optimizer"]["type"] == ("AdamW" if task == "small" else "HybridMuon")
    assert full["optimizer"]["weight_decay"] == 1e-3
    assert full["learning_rate"]["stop_lr"] == (1e-5 if task == "small" else 1e-6)
    assert full["training"].items() >= {"ema_decay": 0.999, "enable_ema": True, "numb_steps": STEPS[task]}.items()
    if task == "finetune":
        assert full["learning_rate"]["start_lr"] < 4.3e-4
    elif task == "small":
        assert full["learning_rate"].items() >= {"start_lr": 3e-3, "warmup_steps": 50, "decay_phase_ratio": 0.8}.items()
    else:
        assert 4.3e-4 <= full["learning_rate"]["start_lr"] <= 6.5e-4
        assert full["learning_rate"]["decay_phase_ratio"] == 0.65
    for loss in full.get("loss_dict", {"": full.get("loss")}).values():
        assert (loss["loss_func"], loss["start_pref_e"], loss["limit_pref_f"]) == ("mae", 20, 20)


def test_branches(data: Data, alloy: Path, tmp_path: Path) -> None:
    """Types are folded into one map, the code of the branch is as long as there are branches."""
    words = [f"toy={data.train}", f"toy={data.valid}", f"alloy={alloy}"]
    document = init(
        tmp_path, "nano", "--task", "multitask", "--data", *words, "--validation", f"toy={data.valid}", "--steps", 50
    )
    shared = document["model"]["shared_dict"]
    assert shared["type_map"] == ["H", "O", "Al", "Cu"]
    assert (
        parse_fitting({key: value for key, value in shared["fitting_net"].items() if key != "type"}).dim_case_embd == 2
    )
    assert document["loss_dict"]["toy"]["start_pref_v"] == 5
    assert document["loss_dict"]["alloy"]["limit_pref_v"] == 0
    places = document["training"]["data_dict"]
    assert places["toy"]["training_data"]["systems"] == [str(data.train), str(data.valid)]
    assert places["toy"]["validation_data"]["systems"] == [str(data.valid)]
    assert "validation_data" not in places["alloy"]
    # averages would come without validation errors
    assert "disp_avg" not in document["training"]
    assert document["training"]["model_prob"] == {"toy": 0.5, "alloy": 0.5}
    assert document["training"]["numb_steps"] == 50


def test_types_of_the_user(data: Data, tmp_path: Path) -> None:
    """Their order stays, more of them are allowed; without data none are looked for."""
    assert init(tmp_path, "mini", "--type-map", "O", "C", "H", "--data", data.train)["model"]["type_map"] == [
        "O",
        "C",
        "H",
    ]
    document = init(tmp_path, "mini", "--type-map", "all")
    assert document["model"]["type_map"] == ELEMENTS
    assert "sel" not in document["model"]["descriptor"]
    assert "validation_data" not in document["training"]


def test_options_of_the_user_win(tmp_path: Path) -> None:
    document = init(
        tmp_path, "mini", "--type-map", "H", "O", "--steps", 40, "--batch-size", 3, "--seed", 7,
        "--set", "model.descriptor.rcut=5.0", "--set", "optimizer.type=AdamW", "--set", "learning_rate.warmup_steps=4",
        "--set", 'validating={"save_best": false}', "--set", "training.save_freq=20",
    )  # fmt: skip
    assert document["model"]["descriptor"]["rcut"] == 5.0
    assert {section["seed"] for section in (document["training"], *list(document["model"].values())[2:])} == {7}
    assert document["optimizer"]["type"] == "AdamW"
    assert document["learning_rate"]["warmup_steps"] == 4
    assert "warmup_ratio" not in document["learning_rate"], "DeePMD-kit takes only one of the two"
    assert document["validating"] == {"save_best": False}
    assert document["training"]["training_data"]["batch_size"] == 3
    assert document["training"]["numb_steps"] == 40
    assert document["training"]["save_freq"] == 20


def test_few_data(data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Smaller batches, a short warm-up, and the weights of the loss that the labels ask for."""
    document = init(tmp_path, "nano", "--task", "small", "--data", data.train, "--steps", 200)
    assert "training for few data" in capsys.readouterr().err
    assert document["training"]["training_data"]["batch_size"] == "auto:60"
    assert document["learning_rate"]["warmup_steps"] == 10
    assert document["loss"]["start_pref_v"] == 5
    assert document["training"]["gradient_max_norm"] == 5
    words = ["--batch-size", 2, "--set", "learning_rate.warmup_ratio=0.01"]
    document = init(tmp_path, "nano", "--task", "small", "--type-map", "C", *words)
    assert document["training"]["training_data"]["batch_size"] == 2
    assert "warmup_steps" not in document["learning_rate"], "DeePMD-kit takes only one of the two"
    assert main(["init", "nano", "--type-map", "C", "--batch-size", "", "-o", str(tmp_path / "other.json")]) == 1
    assert "`--batch-size` is ''" in capsys.readouterr().err


def test_robust(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All tasks get the options; the parameters that are told are the trained ones."""
    document = init(tmp_path, "nano", "--robust", "--type-map", "H", "O")
    options = {key: value for key, value in document["model"]["descriptor"].items() if key not in ("type", "_comment")}
    assert options == SIZES["nano"].descriptor() | DESCRIPTOR | {"seed": 1}
    model = build_model({**document["model"], "descriptor": options})
    trained = sum(value.numel() for value in model.parameters() if value.requires_grad)
    changes = "robust: fixed radial basis, a single envelope, ZBL repulsion at short distance"
    assert f"{changes}, 2 elements, {trained:,} parameters" in capsys.readouterr().err
    assert changes in document["model"]["descriptor"]["_comment"]
    oxide, alloy = close_pair(tmp_path / "oxide", 1.3), close_pair(tmp_path / "alloy", 2.1, ("Cu", "Al"))
    words = ["--task", "multitask", "--data", f"oxide={oxide}", f"alloy={alloy}"]
    for section in models(init(tmp_path, "mini", "--robust", *words)):
        assert section["descriptor"].items() >= DESCRIPTOR.items()
        assert section.items() >= BRIDGING.items()


def close_pair(path: Path, distance: float, names: tuple[str, ...] = ("N", "O")) -> Path:
    """Data of some frames, the last of which has two atoms at a distance; the type map is in the folder."""
    layout = Layout(type_map=names)
    with Writer(path, layout) as writer:
        for index, length in enumerate((2.0, 1.9, distance)):
            positions = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, length], [0.0, 3.0, 0.0]])
            symbols = (names[0], names[0], names[1])
            writer.add(Frame(Place("made", index), symbols, positions, None, energy=-1.0, force=np.zeros((3, 3))))
    return path


@pytest.mark.parametrize(
    ("distance", "window", "told"),
    [
        (1.30, (0.5, 0.75), None),
        (1.00, (0.46, 0.69), "closest pair: N-N, 1.00 Angstrom, 0.70 of the sum of the covalent radii"),
        (0.60, None, "zone bridging is left out"),
    ],
)
def test_windows_end_below_the_closest_pair(
    distance: float,
    window: tuple[float, float] | None,
    told: str | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = init(tmp_path, "nano", "--robust", "--data", close_pair(tmp_path / "data", distance))["model"]
    found = (model["bridging_r_inner"], model["bridging_r_outer"]) if "bridging_method" in model else None
    assert found == window
    text = capsys.readouterr().err
    assert (told or "closest pair") in text if told else "closest pair" not in text
    if told:
        assert ", frame 2); zone bridging" in text


def test_no_bridging_without_covalent_radii(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = init(tmp_path, "nano", "--robust", "--type-map", "all")["model"]
    assert "bridging_method" not in model and model["descriptor"].items() >= DESCRIPTOR.items()
    assert "a single envelope; sel" in model["descriptor"]["_comment"]
    assert "zone bridging is left out: it needs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("model.descriptor.rcut=5", "`model.shared_dict.descriptor` holds it for all branches"),
        ("model.shared_dict.descriptr.rcut=5", "`model.shared_dict.descriptr` would not be read"),
        ("training.model_prob.oxide=0.5", "`training.model_prob.oxide` would not be read"),
        ("model.shared_dict.descriptor.rcutt=5", "`model/model_dict/one/descriptor/rcutt` is not an option"),
    ],
)
def test_changes_that_no_branch_would_read(
    change: str, named: str, data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--task", "multitask", "--data", f"one={data.train}", f"two={data.valid}", "--set", change]
    assert main(["init", "mini", *words, "-o", str(tmp_path / "input.json")]) == 1
    assert named in capsys.readouterr().err


def test_an_input_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "input.json"
    output.write_text("mine")
    words = ["init", "mini", "--type-map", "H", "-o", str(output)]
    assert main(words) == 1
    assert "`--force` replaces it" in capsys.readouterr().err
    assert output.read_text() == "mine"
    assert main([*words, "--force"]) == 0
    assert capsys.readouterr().out == f"{output}\n"
    assert json.loads(output.read_text())["model"]["type"] == "dpa4"


@pytest.mark.parametrize(
    "value", [{"a": {}, "b": [], "c": [1, [2, 3]], "d": ELEMENTS, "e": ["two words"] * 30, "f": None, "g": [{"h": 1}]}]
)
def test_text_is_json(value: Any) -> None:
    text = render(value)
    assert json.loads(text) == value
    assert max(map(len, text.splitlines())) <= 110


def test_a_full_disk_leaves_the_old_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with small_disk(tmp_path / "disk", 64) as disk:
        output = disk / "input.json"
        output.write_text("old")
        _fill(disk / "other")
        assert main(["init", "nano", "-o", str(output), "--force", "--type-map", "O", "H"]) == 1
        assert capsys.readouterr().err == f"dpa4: error: {output} cannot be written: No space left on device\n"
        assert output.read_text() == "old"


def _fill(path: Path) -> None:
    with pytest.raises(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
