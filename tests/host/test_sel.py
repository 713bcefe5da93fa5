"""``sel`` is a hint: no door truncates neighbours."""

from pathlib import Path
from typing import Any

import pytest

from deepmd_dpa4.host.build import build_model
from tests.support import inputs
from tests.support.commands import dp
from tests.support.lammps import assert_matches, run_lammps, triclinic
from tests.support.predict import assert_same, deep_pot, predict
from tests.support.runs import Data, Run, train


@pytest.fixture(scope="module", params=[1, 500])
def trained_with(request: pytest.FixtureRequest, data: Data, tmp_path_factory: pytest.TempPathFactory) -> Run:
    content = {"model": inputs.model({"sel": request.param})} | inputs.training(data.train, steps=10, rate=1e-2)
    run = train(tmp_path_factory.mktemp(f"sel-{request.param}"), content)
    dp("freeze", "-o", "model.pth", folder=run.folder)
    return run


@pytest.fixture(scope="module")
def reference(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Any:
    content = {"model": inputs.model({"sel": 60})} | inputs.training(data.train, steps=10, rate=1e-2)
    return train(tmp_path_factory.mktemp("sel-60"), content)


def test_training_inference_and_dynamics(trained_with: Run, reference: Run, data: Data, tmp_path: Path) -> None:
    expected = predict(reference.checkpoint, data.frames)
    for path in (trained_with.checkpoint, trained_with.frozen):
        assert_same(predict(path, data.frames), expected)
        assert_same(predict(deep_pot(path, nlist_backend="native"), data.frames), expected)
    box = triclinic()
    found = run_lammps(tmp_path, trained_with.frozen, box)
    assert_matches(found, predict(reference.checkpoint, box.frames), box)


def test_standard_model_refuses_to_lose_neighbors(data: Data, tmp_path: Path) -> None:
    """There DeePMD-kit builds the table and cuts it at ``sel`` before we see it."""
    section = inputs.model({"type": "emfa", "sel": 2}) | {"type": "standard"}
    section["fitting_net"] = {"type": "ener", "neuron": [8]}
    name = inputs.write(tmp_path, {"model": section} | inputs.training(data.train))
    printed = dp("train", name, "--skip-neighbor-stat", folder=tmp_path, fails=True)
    assert "raise `descriptor/sel`" in printed


def test_sel_leaves_no_trace_in_the_weights() -> None:
    states = [build_model(inputs.model({"sel": sel})).state_dict() for sel in (1, 500, [3, 4])]
    for state in states[1:]:
        assert {key: value.shape for key, value in state.items() if hasattr(value, "shape")} == {
            key: value.shape for key, value in states[0].items() if hasattr(value, "shape")
        }
