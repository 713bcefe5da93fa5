"""The largest force errors in the log of a training name a wrong label."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepmd_dpa4.host.force_errors import PENDING, ForceErrors, file_beside, largest
from tests.support import inputs
from tests.support.runs import Run, train
from tests.support.toy import toy_frames, write_system

ERROR = 500.0


def table(file: Path) -> list[list[str]]:
    return [line.split() for line in file.read_text().splitlines() if not line.startswith("#")]


def plant(folder: Path, frame: int, atom: int) -> None:
    """Write a wrong label."""
    file = folder / "force.npy"
    forces = np.load(file)
    forces[frame, 3 * atom] += ERROR
    np.save(file, forces)


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two systems, the second with two sets; a wrong label in the second and in the validation data.

    DeePMD-kit puts the atoms O H H O H H into another order.
    """
    folder = tmp_path_factory.mktemp("wrong")
    systems = [write_system(folder / name, toy_frames(4, seed)) for seed, name in enumerate(("a", "b", "valid"))]
    (folder / "c").mkdir()
    second = write_system(folder / "c" / "b", toy_frames(4, seed=7))
    (second / "set.000").rename(systems[1] / "set.001")
    plant(systems[1] / "set.001", 2, 3)
    plant(systems[2] / "set.000", 1, 2)
    content = {"model": inputs.model()} | inputs.training(systems[0], systems[2], 12, disp_freq=12)
    content["training"]["training_data"] = {"systems": [str(path) for path in systems[:2]], "batch_size": 8}
    content["training"]["validation_data"]["batch_size"] = 4
    return train(folder, content, "--skip-neighbor-stat")


def test_a_wrong_label_is_named(wrong: Run) -> None:
    rows = {(row[0], row[1]): row[2:] for row in table(wrong.folder / "lcurve_forces.out")}
    assert set(rows) == {("1", "trn"), ("1", "val"), ("12", "trn"), ("12", "val")}
    for part, place in (("trn", ["3", "O", "6", str(wrong.folder / "b")]), ("val", ["2", "H", "1"])):
        error, *found = rows["12", part]
        assert float(error) == pytest.approx(ERROR, rel=0.05)
        assert found[: len(place)] == place
    error = rows["12", "trn"][0]
    assert f"12: trn: largest force error = {error} eV/A, atom 3 (O), frame 6 of {wrong.folder / 'b'}\n" in wrong.log


def test_the_learning_curve_has_the_columns_of_before(wrong: Run) -> None:
    with (wrong.folder / "lcurve.out").open() as file:
        names = file.readline().lstrip("#").split()
    assert np.loadtxt(wrong.folder / "lcurve.out").shape == (2, len(names))


def test_branches_have_lines_of_their_own(multi: Run) -> None:
    assert {row[1] for row in table(multi.folder / "lcurve_forces.out")} == {"one_trn", "two_trn"}


def test_places_without_an_atom_and_nan() -> None:
    force, label = torch.zeros(2, 3, 3), torch.zeros(2, 9)
    label[0, 3], label[1, 8] = 2.0, 9.0
    types = torch.tensor([[0, 1, 1], [0, 1, -1]])
    value, index, kind = largest(force, label, types)
    assert (float(value), int(index), int(kind)) == (2.0, 1, 1)
    force[1, 0, 0] = math.nan
    value, index, kind = largest(force, label, types)
    assert math.isnan(value)
    assert (int(index), int(kind)) == (3, 0)


class Frames:
    """A data set of one file."""

    lmdb_path = "data.lmdb"


def observe(errors: ForceErrors, frame: int, error: float, find: float = 1.0) -> None:
    label: dict[str, Any] = {"force": torch.zeros(1, 2, 3), "find_force": find}
    force = torch.zeros(1, 2, 3)
    force[0, 1, 2] = error
    errors.expect("trn", Frames(), {"sid": torch.tensor([0]), "fid": [frame]})
    given = {"label": label, "atype": torch.tensor([[0, 1]]), "task_key": "Default"}
    errors.observe(None, (), given, ({"force": force}, None, None))


def test_the_largest_of_an_interval_wins_and_a_restart_goes_on(tmp_path: Path) -> None:
    errors = ForceErrors(tmp_path / "f.out", lambda _: ["O", "H"])
    for frame in range(2 * PENDING + 5):
        observe(errors, frame, 100.0 if frame == 3 else 1.0)
    assert len(errors.pending["Default", "trn"]) == 5
    errors.report(1)
    observe(errors, 8, 2.0)
    errors.report(2)
    errors.report(3)  # nothing came
    again = ForceErrors(tmp_path / "f.out", lambda _: ["O", "H"], append=True)
    observe(again, 1, 1e15)
    observe(again, 4, math.nan)
    observe(again, 5, 7.0)
    observe(again, 6, 1e9, find=0.0)
    again.report(4)
    assert table(tmp_path / "f.out") == [
        ["1", "trn", "1.00e+02", "1", "H", "3", "data.lmdb"],
        ["2", "trn", "2.00e+00", "1", "H", "8", "data.lmdb"],
        ["4", "trn", "nan", "1", "H", "4", "data.lmdb"],
    ]


def test_another_training_begins_a_file(tmp_path: Path) -> None:
    for number in (1, 2):
        errors = ForceErrors(tmp_path / "f.out", lambda _: ["O", "H"])
        observe(errors, number, 1.0)
        errors.report(number)
    assert [row[0] for row in table(tmp_path / "f.out")] == ["2"]


def test_labels_of_another_call_are_not_counted(tmp_path: Path) -> None:
    """A batch is looked at once; what else passes the model has no place in the data."""
    errors = ForceErrors(tmp_path / "f.out", lambda _: ["O", "H"])
    errors.expect("trn", Frames(), {"sid": 0, "fid": [0]})
    errors.observe(None, (), {"label": None}, ({}, None, None))
    label = {"force": torch.ones(1, 1, 3), "find_force": 1.0}
    given = {"label": label, "atype": torch.tensor([[0]])}
    errors.observe(None, (), given, ({"force": torch.zeros(1, 1, 3)}, None, None))
    errors.report(1)
    assert not (tmp_path / "f.out").exists()


def test_the_file_is_named_after_the_learning_curve() -> None:
    assert file_beside("runs/lcurve.out") == Path("runs/lcurve_forces.out")
