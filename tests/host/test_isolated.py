"""Energies of isolated atoms in training, restart and frozen files."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepmd_dpa4.freeze.freeze import freeze
from deepmd_dpa4.host.build import build_model
from deepmd_dpa4.host.builtin import available
from deepmd_dpa4.host.changed_options import differences
from tests.checkpoint.conftest import untrained
from tests.support import inputs
from tests.support.official import needs_charge_spin
from tests.support.predict import assert_same, deep_pot, predict
from tests.support.runs import Data, Run, train
from tests.support.weights import perturb

BIAS = [-3.0, 0.5]
PRESET = {"energy": BIAS}
SINGLE = 1e-5
"""Rounding of single precision, eV."""


def noisy(params: inputs.Section) -> Any:
    model = build_model(params)
    perturb(model, scale=0.3)
    model.atomic_model.out_bias[0, :, 0] = torch.tensor(BIAS)
    return model


def alone(potential: Any, kind: int, **conditions: Any) -> float:
    """Energy of a single atom."""
    return potential.eval(np.zeros((1, 3)), None, [kind], **conditions)[0].item()


def test_without_given_energies_nothing_is_referred(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "deepmd.dpa4"):
        model = build_model(inputs.model(fitting={"vacuum_ref": True}))
    assert "vacuum_ref` is true without effect" in caplog.text
    assert not model.atomic_model.evaluates_isolated_atoms()


@needs_charge_spin
def test_types_may_be_reordered() -> None:
    section = {"add_chg_spin_ebd": True, "default_chg_spin": [0, 1]}
    model = noisy(inputs.model(section, {"vacuum_ref": True}, preset_out_bias=PRESET)).eval()
    for kind, spin in ((0, 3.0), (1, 2.0)):
        state = torch.tensor([[0.0, spin]], dtype=torch.float64)
        lone = torch.zeros(1, 1, 3, dtype=torch.float64), torch.tensor([[kind]])
        assert abs(float(model(*lone, charge_spin=state)["energy"]) - BIAS[kind]) < SINGLE
    model.change_type_map(["H", "O"])
    assert model.atomic_model.ground_states.tolist() == [[0, 2], [0, 3]]


@pytest.mark.parametrize("parameters", [False, True], ids=["energies", "features"])
def test_frozen_files(parameters: bool, data: Data, tmp_path: Path) -> None:
    """The bias keeps its meaning in the file, which evaluates no isolated atom."""
    fitting = {"vacuum_ref": True} | ({"numb_fparam": 1} if parameters else {})
    params = inputs.model(fitting=fitting, preset_out_bias=PRESET, kernels="plain")
    checkpoint, frozen = untrained(tmp_path, params, noisy), tmp_path / "model.pth"
    freeze(str(checkpoint), str(frozen))
    given = {"fparam": np.array([[0.7]])} if parameters else {}
    potential = deep_pot(frozen)
    script = potential.deep_eval.dp.model["Default"]
    assert script.state_dict()["atomic_model.out_bias"].flatten().tolist() == BIAS
    for kind in (0, 1):
        assert abs(alone(potential, kind, **given) - BIAS[kind]) < SINGLE
    frames = data.frames
    more = {"fparam": np.full((len(frames.coord), 1), 0.7)} if parameters else {}
    assert_same(predict(frozen, frames, **more), predict(checkpoint, frames, **more))


@pytest.fixture(scope="module")
def branches(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two tasks that share everything but a code, one of them with energies of isolated atoms."""
    return train(tmp_path_factory.mktemp("isolated"), content(data, 2, 1e-2))


def content(data: Data, steps: int, rate: float) -> inputs.Section:
    found = inputs.multi_task(data.train, steps=steps, rate=rate)
    found["model"]["shared_dict"]["fit"]["vacuum_ref"] = True
    found["model"]["model_dict"]["one"]["preset_out_bias"] = PRESET
    return found


@pytest.mark.skipif(not available(), reason="DeePMD-kit 3.1 restarts with the learning rate of the checkpoint")
def test_tasks(branches: Run, data: Data, tmp_path: Path) -> None:
    """Training, restart and freezing of a branch."""
    one, two = (deep_pot(branches.checkpoint, head=name) for name in ("one", "two"))
    bias = [float(x) for x in two.deep_eval.dp.model["Default"].get_out_bias().flatten()]
    for kind in (0, 1):
        assert abs(alone(one, kind) - BIAS[kind]) < SINGLE
        assert abs(alone(two, kind) - bias[kind]) > 1e-3
    restart = content(data, 4, inputs.FROZEN_RATE)
    restart["learning_rate"] |= inputs.VANISHING
    run = train(tmp_path, restart, "--restart", str(branches.checkpoint))
    again = deep_pot(run.checkpoint, head="one")
    assert_same(predict(again, data.frames), predict(one, data.frames))
    freeze(str(run.checkpoint), str(tmp_path / "one.pth"), head="one")
    assert_same(predict(tmp_path / "one.pth", data.frames), predict(one, data.frames))


def test_a_restart_keeps_the_reference() -> None:
    before = inputs.model(preset_out_bias=PRESET)
    after = inputs.model(fitting={"vacuum_ref": True}, preset_out_bias=PRESET, bridging_end="cutoff")
    assert differences(before, after) == {"fitting_net/vacuum_ref": (False, True), "bridging_end": ("step", "cutoff")}
