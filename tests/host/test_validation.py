"""The table at the end of a training has the errors of its last checkpoint."""

import math
from pathlib import Path

import numpy as np
import pytest

from deepmd_dpa4.breakdown import QUANTITIES, Breakdown
from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.tools.plots.parity import compare
from tests.support import inputs
from tests.support.runs import Data, Run, train
from tests.support.toy import toy_frames, write_system

Rows = dict[tuple[str, str], list[float]]


def rows_of(text: str) -> Rows:
    """Numbers of a table, NaN where there are none, by kind and name."""
    words = [line.split() for line in text.splitlines()]
    return {
        (line[0], line[1]): [math.nan if word == "-" else float(word) for word in line[2:]]
        for line in words
        if line[:1] in (["element"], ["system"])
    }


def expected(checkpoint: Path, systems: list[Path], head: str | None = None) -> Rows:
    errors = Breakdown()
    compare(Evaluator(checkpoint, head), systems, breakdown=errors)
    return {
        (kind, name): [sums.frames, sums.atoms, *(1000 * sums.rmse(quantity) for quantity in QUANTITIES)]
        for kind, name, sums in errors.rows()
    }


def assert_same(found: Rows, wanted: Rows) -> None:
    assert list(found) == list(wanted)
    for key, numbers in wanted.items():
        np.testing.assert_allclose(found[key], numbers, rtol=1e-3, err_msg=str(key))


def test_same_as_parity(trained: Run, data: Data) -> None:
    text = (trained.folder / "lcurve_validation.out").read_text()
    assert text.startswith("RMSE of 5 of 5 frames of validation data, meV/atom and meV/A\n")
    assert text.splitlines()[-1] in trained.log
    assert_same(rows_of(text), expected(trained.checkpoint, [data.valid]))


@pytest.fixture(scope="module")
def branches(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[Path]]:
    """Two tasks, of which one has two systems of validation data, the other none; one system lacks virials."""
    folder = tmp_path_factory.mktemp("branches")
    training = write_system(folder / "train", toy_frames(4, seed=0))
    valid = [write_system(folder / f"valid{seed}", toy_frames(3, seed), periodic=seed == 1) for seed in (1, 2)]
    content = inputs.multi_task(training)
    content["training"]["data_dict"]["two"]["validation_data"] = {"systems": list(map(str, valid)), "batch_size": 1}
    return train(folder / "run", content), valid


def test_branches_and_missing_labels(branches: tuple[Run, list[Path]]) -> None:
    run, valid = branches
    text = (run.folder / "lcurve_validation.out").read_text()
    assert text.startswith("branch two, RMSE of 6 of 6 frames") and "branch one" not in text
    found = rows_of(text)
    assert_same(found, expected(run.checkpoint, valid, "two"))
    assert math.isnan(found["system", str(valid[1])][-1])


def test_no_table_without_validation_data(multi: Run) -> None:
    assert not (multi.folder / "lcurve_validation.out").exists()
