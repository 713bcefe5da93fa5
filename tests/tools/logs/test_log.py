"""``dpa4 log`` hands over what a training writes, while it writes it."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from deepmd_dpa4.cli import main
from deepmd_dpa4.host.folder_lock import Claim
from deepmd_dpa4.tools.logs import follow as following
from deepmd_dpa4.tools.logs.follow import follow
from deepmd_dpa4.tools.logs.reader import CurveReader, name_of
from tests.support.runs import Run

HEADER = (
    "#  step   rmse_val   rmse_f_trn   lr\n# If there is no available reference data, rmse_*_{val,trn} will print nan\n"
)


def row(step: int, force: float = 2.0) -> str:
    return f"{step:7d}   1.0e+00   {force:.1e}   1.0e-03\n"


class Taken:
    """A target that remembers."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.values: list[dict[str, float]] = []
        self.closed = False

    def log(self, step: int, values: dict[str, float]) -> None:
        self.steps.append(step)
        self.values.append(values)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def curve(tmp_path: Path) -> Path:
    path = tmp_path / "lcurve.out"
    path.write_text(HEADER + row(1) + row(2, float("nan")))
    return path


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("rmse_f_val", "validation/rmse_f"),
        ("mae_trn", "training/mae"),
        ("rmse_e_trn_water", "training/rmse_e/water"),
        ("lr", "lr"),
    ],
)
def test_names(column: str, name: str) -> None:
    assert name_of(column) == name


def test_values(curve: Path) -> None:
    first, second = CurveReader(curve).rows()
    assert first.values == {"validation/rmse": 1.0, "training/rmse_f": 2.0, "lr": 1e-3}
    assert second.values == {"validation/rmse": 1.0, "lr": 1e-3}


def test_lines_count_when_they_are_complete(curve: Path) -> None:
    reader = CurveReader(curve)
    assert [found.step for found in reader.rows()] == [1, 2]
    with curve.open("a") as file:
        for text, steps in ((row(3) + row(4)[:9], [3]), (row(4)[9:], [4]), ("", [])):
            file.write(text)
            file.flush()
            assert [found.step for found in reader.rows()] == steps


def test_a_restart_repeats_steps(curve: Path) -> None:
    reader = CurveReader(curve)
    curve.write_text(curve.read_text() + row(3) + HEADER + row(2) + row(3) + row(4))
    assert [found.step for found in reader.rows()] == [1, 2, 3, 4]


def test_another_training_begins_anew(curve: Path) -> None:
    reader = CurveReader(curve)
    list(reader.rows())
    curve.write_text(HEADER + row(1))
    assert [found.step for found in reader.rows()] == [1]


def test_a_training_is_followed_to_its_end(curve: Path) -> None:
    """Its lock tells; the row of the last moment is not lost."""
    claim = Claim({"training": {"disp_file": str(curve), "save_ckpt": str(curve.with_name("model"))}})
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        with curve.open("a") as file:
            file.write(row(10 * len(pauses)))
        if len(pauses) == 3:
            claim.give_up()

    target = Taken()
    assert follow(CurveReader(curve), target, wait=True, pause=pause) == 5
    assert target.steps == [1, 2, 10, 20, 30]
    assert pauses == [following.INTERVAL] * 3


def test_a_training_of_others_is_waited_for(curve: Path) -> None:
    """Nobody holds the file, so time decides; a file that does not exist yet is waited for too."""
    content = curve.read_text()
    curve.unlink()
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            curve.write_text(content)

    assert follow(CurveReader(curve), Taken(), wait=True, pause=pause) == 2
    assert sum(pauses) == pytest.approx(following.IDLE + 2 * following.INTERVAL)


def fake_wandb(taken: Taken, told: dict[str, Any]) -> ModuleType:
    def init(**options: Any) -> Any:
        told.update(options)
        return SimpleNamespace(log=lambda values, step: taken.log(step, values), finish=taken.close)

    module = ModuleType("wandb")
    module.__dict__.update(init=init, __spec__=SimpleNamespace())
    return module


def fake_mlflow(taken: Taken, told: dict[str, Any]) -> ModuleType:
    class MlflowClient:
        def get_experiment_by_name(self, name: str) -> None:
            told["project"] = name

        def create_experiment(self, name: str, artifacts: str | None) -> str:
            return "7"

        def create_run(self, experiment: str, run_name: str) -> Any:
            told["name"] = run_name
            return SimpleNamespace(info=SimpleNamespace(run_id=experiment + "-1"))

        def log_dict(self, run: str, values: dict[str, Any], file: str) -> None:
            told["config"] = values

        def log_metric(self, run: str, name: str, value: float, step: int) -> None:
            assert run == "7-1"
            taken.log(step, {name: value})

        def set_terminated(self, run: str) -> None:
            taken.close()

    module = ModuleType("mlflow")
    module.__dict__.update(
        MlflowClient=MlflowClient,
        is_tracking_uri_set=lambda: False,
        set_tracking_uri=lambda uri: told.update(uri=uri),
        __spec__=SimpleNamespace(),
    )
    return module


@pytest.mark.parametrize(("program", "fake"), [("wandb", fake_wandb), ("mlflow", fake_mlflow)])
def test_programs(
    program: str, fake: Any, trained: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    taken, told = Taken(), {}
    monkeypatch.setitem(sys.modules, program, fake(taken, told))
    assert main(["log", str(trained.folder), "--to", program, "--offline", "--name", "mine"]) == 0
    assert set(taken.steps) == set(range(1, 61)) and taken.closed
    names = set().union(*taken.values)
    assert {"training/rmse_f", "validation/rmse_f", "validation/rmse_e", "lr"} <= names
    assert (told["name"], told["project"]) == ("mine", "deepmd-dpa4")
    assert told["config"]["training"]["numb_steps"] == 60
    assert "60 rows" in capsys.readouterr().out


def test_nothing_to_hand_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["log", str(tmp_path), "--to", "wandb"]) == 1
    assert "there is no file" in capsys.readouterr().err


def test_program_that_is_missing(
    curve: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("deepmd_dpa4.tools.data.errors.find_spec", lambda name: None)
    assert main(["log", str(curve), "--to", "mlflow"]) == 1
    assert "`--to mlflow` needs the package mlflow: pip install 'deepmd-dpa4[mlflow]'" in capsys.readouterr().err
