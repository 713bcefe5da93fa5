"""What ``dpa4 init`` says beside the input: missing validation data, and the time of the training."""

from pathlib import Path

import numpy as np
import pytest

from deepmd_dpa4.cli import main
from deepmd_dpa4.tools.presets import duration
from deepmd_dpa4.tools.presets.sizes import SIZES
from deepmd_dpa4.tools.presets.systems import Contents, read
from tests.support.init_command import init
from tests.support.toy import toy_frames, write_system


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_system(tmp_path / "water", toy_frames(4, seed=0))


def test_missing_validation_data_are_told(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init(tmp_path, "nano", "--data", data)
    said = capsys.readouterr().err
    assert "no validation data" in said and "`dpa4 data split`" in said
    init(tmp_path, "nano", "--data", data, "--validation", data)
    assert "no validation data" not in capsys.readouterr().err


def test_missing_virials_are_told(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init(tmp_path, "nano", "--data", data)
    assert "no virial in the data" not in capsys.readouterr().err
    (data / "set.000" / "virial.npy").unlink()
    init(tmp_path, "nano", "--data", data)
    assert "no virial in the data: pressures are not trained" in capsys.readouterr().err


def test_validation_by_training_data_is_told(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Through a link too."""
    (tmp_path / "link").symlink_to(data)
    init(tmp_path, "nano", "--data", data, "--validation", tmp_path / "link")
    assert f"1 systems are training and validation data at once, such as {data}" in capsys.readouterr().err


def test_charges_that_are_not_read_are_told(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init(tmp_path, "nano", "--data", data)
    assert "charge_spin.npy in the data is not read" in capsys.readouterr().err
    init(tmp_path, "nano", "--data", data, "--set", "model.descriptor.add_chg_spin_ebd=true")
    assert "charge_spin" not in capsys.readouterr().err


@pytest.mark.parametrize(("label", "ending"), [("energy", "e"), ("force", "f")])
def test_missing_labels_are_told(
    label: str, ending: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "set.000" / f"{label}.npy").unlink()
    init(tmp_path, "nano", "--data", data)
    assert f"no {label}.npy in the data" in (said := capsys.readouterr().err) and f"`limit_pref_{ending}`" in said


def test_formats_that_do_not_go_together(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mixed = write_system(tmp_path / "mixed", toy_frames(2, seed=1))
    np.save(mixed / "set.000" / "real_atom_types.npy", np.array([[0, 1, 1, 0, 1, -1]] * 2))
    assert main(["init", "nano", "--data", str(data), str(mixed), "-o", str(tmp_path / "input.json")]) == 1
    said = f"`--data` has {mixed} of mixed type and {data} of the standard format"
    assert said in capsys.readouterr().err


def test_the_time_is_told_as_an_estimate(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duration, "measured_speed", lambda: duration.SPEED)
    monkeypatch.setattr(duration, "has_gpu", lambda: False)
    steps = 7200
    expected = duration.in_words(steps * duration.SECONDS * 132 / duration.ATOMS)
    assert f"estimated within a factor of 2: {expected} for 7,200 steps" in duration.told("mini", steps, 132)
    monkeypatch.setattr(duration, "has_gpu", lambda: True)
    assert "not known for GPUs" in duration.told("mini", steps, 132)
    init(tmp_path, "mini", "--data", data, "--steps", steps)
    assert "time of the training" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rule", "atoms"), [(3, 18), ("auto:128", 132), ("auto", 36), ("max:128", 126), ("filter:128", 126), ("max:2", 6)]
)
def test_atoms_in_a_step(rule: int | str, atoms: int, data: Path) -> None:
    assert read(data).atoms == 24
    assert duration.atoms_in_step(rule, [read(data)]) == atoms
    empty = Contents(*[frozenset()] * 4, 0, frozenset(), 0)
    assert duration.atoms_in_step(rule, [read(data), empty]) == atoms


def test_all_networks_have_a_cost() -> None:
    assert duration.COSTS.keys() <= SIZES.keys()
    assert duration.COSTS["mini"] == 1
    assert duration.estimate("pro-4.0", 1, 1, 1) is None
    assert duration.estimate("mini", 10, 192, 2 * duration.SPEED) == pytest.approx(5 * duration.SECONDS)
    assert 0 < duration.measured_speed() < 1e6


def test_times_have_one_unit() -> None:
    texts = [duration.in_words(seconds) for seconds in (30, 600, 7200, 600_000)]
    assert texts == ["30 seconds", "10 minutes", "2 hours", "7 days"]
