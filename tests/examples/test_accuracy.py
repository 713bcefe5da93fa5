"""Error against time: the split, the inputs, the clock, and the page."""

import importlib
import json
import os
import re
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from deepmd_dpa4.tools.presets.check import check
from tests.support.commands import ROOT
from tests.support.init_command import init

FOLDER = ROOT / "benchmarks" / "accuracy"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts find each other as when they are run."""
    monkeypatch.syspath_prepend(str(FOLDER))


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with a training file of 25 frames of two kinds."""
    from ase import Atoms
    from ase.io import write

    frames = []
    generator = np.random.default_rng(1)
    for index in range(25):
        kind = "Surface" if index % 5 == 0 else "Elastic"
        atoms = Atoms("Si2", 3 * generator.random((2, 3)), cell=np.eye(3) * 6, pbc=True)
        atoms.info |= {"config_type": kind, "energy": float(index)}
        atoms.arrays["forces"] = generator.random((2, 3))
        frames.append(atoms)
    (tmp_path / "mlearn").mkdir()
    write(tmp_path / "mlearn" / "Si-training.xyz", frames, format="extxyz")
    return tmp_path


def test_every_tenth_frame_of_each_kind_validates(data: Path) -> None:
    splits = script("splits")
    training, validation = splits.split(data / "mlearn" / "Si-training.xyz")
    elastic = [index for index in range(25) if index % 5]
    assert [frame.energy for frame in validation] == [elastic[9], elastic[19]]
    assert len(training) == 23


def test_folders_are_written_once(data: Path, tmp_path: Path) -> None:
    splits = script("splits")
    folders = splits.write("si", data, tmp_path / "folders")
    assert len(splits.validation_frames(folders)) == 2
    (data / "mlearn" / "Si-training.xyz").unlink()
    assert splits.write("si", data, tmp_path / "folders") == folders


@pytest.mark.parametrize("recipe", ["published", "adamw", "squares"])
@pytest.mark.parametrize("network", ["nano", "mini", "small"])
def test_inputs_are_accepted(network: str, recipe: str, data: Path, tmp_path: Path) -> None:
    folders = script("splits").write("si", data, tmp_path / "folders")
    section = script("networks").dpa4_input(network, "si", folders, 100, 1, recipe_name=recipe, batch=32, saves=5)
    check(section)
    assert section["training"]["save_freq"] == 20


def test_small_task_is_the_recipe_of_the_benchmark(data: Path, tmp_path: Path) -> None:
    """`dpa4 init --task small` prescribes what the trainings used."""
    folders = script("splits").write("si", data, tmp_path / "folders")
    ours = script("networks").dpa4_input("mini", "si", folders, 4000, 1, recipe_name="adamw", batch=60, saves=12)
    options = ["--task", "small", "--type-map", "Si", "--steps", 4000]
    preset = init(tmp_path, "mini", *options)
    for section in ("learning_rate", "optimizer"):
        assert without_comment(preset[section]) == without_comment(ours[section])
    for key, value in without_comment(ours["loss"]).items():
        assert "pref_v" in key or preset["loss"][key] == value, key
    parser = script("curves").parsed(["--data", str(data)])
    assert preset["training"]["training_data"]["batch_size"] == f"auto:{parser.batch}"
    assert preset["training"]["gradient_max_norm"] == ours["training"]["gradient_max_norm"]


def test_fine_tuning_starts_from_the_named_checkpoint(data: Path, tmp_path: Path) -> None:
    """Its input is one that `dp` accepts, whatever the name; an interrupted training does not start anew."""
    curves, codes = script("curves"), script("codes")
    command = ["--data", str(data), "--sets", "si", "--codes", "fine-tuned", "--pretrained", f"big={tmp_path / 'a.pt'}"]
    options = curves.parsed([*command, "--seeds", "1"])
    named = curves.named(options)
    (task,) = curves.tasks(options, named)
    assert (task.name, task.recipe) == ("si_fine-tuned_big_finetune_1", "finetune")
    code = named["fine-tuned"]
    assert isinstance(code, codes.Code)
    check(code.section(task, script("splits").write("si", data, tmp_path / "folders"), 100, 5))
    assert code.first_start(task) == ["--finetune", str(tmp_path / "a.pt"), "--use-pretrain-script"]
    assert codes.CODES["deepmd-dpa4"].first_start(task) == []


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--pretrained", "a.pt", "`--pretrained` is 'a.pt' but must be NAME=FILE"),
        (
            "--environment",
            "dpa9=folder",
            "`--environment` names 'dpa9' but must be CODE=DIR, CODE of mace",
        ),
    ],
)
def test_values_that_name_nothing(option: str, value: str, expected: str, data: Path) -> None:
    curves = script("curves")
    with pytest.raises(ValueError, match=re.escape(expected)):
        curves.named(curves.parsed(["--data", str(data), "--codes", "fine-tuned", option, value]))


def without_comment(section: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key != "_comment"}


class TestClock:
    def test_marks_and_restart(self, tmp_path: Path) -> None:
        clock = script("clock")
        program = "import time, pathlib; pathlib.Path('a').touch(); time.sleep(1); pathlib.Path('b').touch()"

        def marks() -> list[str]:
            return [name for name in ("a", "b", "c") if (tmp_path / name).exists()]

        command = [sys.executable, "-c", program]
        seen = clock.timed(command, tmp_path, dict(os.environ), marks, "wall")
        assert 0 < seen["a"] < seen["b"]
        assert clock.recorded(tmp_path) == seen
        again = clock.timed(["touch", "c"], tmp_path, dict(os.environ), marks, "wall", before=seen)
        assert again["b"] == seen["b"] <= again["c"]

    def test_processor_time(self, tmp_path: Path) -> None:
        """It leaves out what a process sleeps."""
        clock = script("clock")
        command = [sys.executable, "-S", "-c", "import time; time.sleep(1.5); open('a', 'w')"]
        seen = clock.timed(
            command, tmp_path, dict(os.environ), lambda: ["a"] if (tmp_path / "a").exists() else [], "processor"
        )
        assert seen["a"] < 1

    def test_nothing_goes_on_without_its_clock(self, tmp_path: Path) -> None:
        clock = script("clock")

        def marks() -> list[str]:
            if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip():
                raise KeyboardInterrupt
            return []

        with pytest.raises(KeyboardInterrupt):
            clock.timed(["sh", "-c", "echo $$ > pid; exec sleep 600"], tmp_path, dict(os.environ), marks, "wall")
        state = Path(f"/proc/{int((tmp_path / 'pid').read_text())}/stat")
        deadline = time.monotonic() + 300
        while state.exists() and ") Z " not in state.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def test_failure(self, tmp_path: Path) -> None:
        clock = script("clock")
        with pytest.raises(clock.TrainingError, match=r"(?s)no such option.*ended with code 3"):
            clock.timed(["sh", "-c", "echo no such option; exit 3"], tmp_path, dict(os.environ), list, "wall")


def test_checkpoints_by_step(tmp_path: Path) -> None:
    for name in ("model.ckpt-100.pt", "model.ckpt-20.pt", "model.ckpt.pt", "model_ema.ckpt-20.pt"):
        (tmp_path / name).touch()
    assert script("codes").checkpoints(tmp_path) == ["model.ckpt-20.pt", "model.ckpt-100.pt"]


def test_page(tmp_path: Path) -> None:
    folder = tmp_path / "accuracy"
    folder.mkdir()
    for seed, force in ((1, 40.0), (2, 50.0)):
        point = {"step": 100, "seconds": 30.0, "energy_rmse": 2.0, "energy_mae": 1.0, "force_mae": 1.0}
        record = {
            "task": {
                **{"data": "si", "code": "deepmd-dpa4", "network": "small", "recipe": "adamw", "seed": seed},
                **{"clock": "processor", "budget": 30, "batch": 32},
            },
            "machine": {"threads": 1, "cpu": "a processor", "torch": "2", "deepmd-kit": "3"},
            "date": "2026-01-01",
            "parameters": 123456,
            "curve": [point | {"step": 50, "seconds": 15.0, "force_rmse": 100.0}, point | {"force_rmse": force}],
        }
        (folder / f"{seed}.json").write_text(json.dumps(record))
    script("accuracy_page").main(["--results", str(folder)])
    page = (tmp_path / "accuracy.md").read_text()
    assert "| deepmd-dpa4 | small | 123,456 | adamw | 2 | 100 | 30 | 2.00 | 45.0 (40.0 to 50.0) |" in page
    assert (tmp_path / "accuracy.png").exists()
