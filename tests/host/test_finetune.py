"""Fine-tuning: weights of the checkpoint, fitted biases, elements, what is trained, frames that are left out."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepmd_dpa4.config import ConfigError
from deepmd_dpa4.host.builtin import available
from deepmd_dpa4.host.statistics import preset_bias
from tests.host.test_train import DESCRIPTOR, weights
from tests.support import inputs
from tests.support.commands import dp
from tests.support.predict import difference, predict
from tests.support.runs import Data, Run, train
from tests.support.toy import toy_frames, write_system


def test_finetune_keeps_the_forces_and_fits_the_bias(data: Data, trained: Run, tmp_path: Path) -> None:
    content = {"model": inputs.model(inputs.DESCRIPTOR)} | inputs.training(data.train, None, 1, inputs.FROZEN_RATE)
    run = train(tmp_path, content, "--finetune", str(trained.checkpoint))
    before, after = predict(trained.checkpoint, data.frames), predict(run.checkpoint, data.frames)
    assert difference(after.force, before.force) < 1e-6
    shift = (after.energy - before.energy).ravel()
    # with one composition the bias can only shift all energies by the same amount
    assert np.ptp(shift) < 1e-5 * np.abs(before.energy).max()


def test_finetune_with_a_permuted_and_enlarged_type_map(data: Data, trained: Run, tmp_path: Path) -> None:
    section = inputs.model(inputs.DESCRIPTOR) | {"type_map": ["C", "H", "O"]}
    content = {"model": section} | inputs.training(data.train, None, 1, inputs.FROZEN_RATE)
    run = train(tmp_path, content, "--finetune", str(trained.checkpoint))
    before = predict(trained.checkpoint, data.frames)
    after = predict(run.checkpoint, data.frames, types=(2, 1, 1, 2, 1, 1))
    assert difference(after.force, before.force) < 1e-6
    assert difference(after.virial, before.virial) < 1e-5


def test_use_pretrain_script_takes_the_architecture_of_the_file(data: Data, trained: Run, tmp_path: Path) -> None:
    section = {"type": "dpa4", "type_map": ["O", "H"], "descriptor": {"type": "dpa4"}, "fitting_net": {}}
    content = {"model": section} | inputs.training(data.train, None, 1, inputs.FROZEN_RATE)
    run = train(tmp_path, content, "--finetune", str(trained.checkpoint), "--use-pretrain-script")
    assert difference(predict(run.checkpoint, data.frames).force, predict(trained.checkpoint, data.frames).force) < 1e-6


def test_the_log_tells_the_biases(data: Data, trained: Run, tmp_path: Path) -> None:
    content = {"model": inputs.model(inputs.DESCRIPTOR)} | inputs.training(data.train, None, 1, inputs.FROZEN_RATE)
    run = train(tmp_path, content, "--finetune", str(trained.checkpoint))
    rows = re.findall(r"^  ([OH]) +(\S+) +(\S+) +(\S+)$", run.log, re.MULTILINE)
    key = "model.Default.atomic_model.out_bias"
    for column, path in ((1, trained.checkpoint), (2, run.checkpoint)):
        printed = [float(row[column]) for row in rows]
        assert np.allclose(printed, weights(path)[key][0, :, 0].numpy(), atol=1e-6)
    assert all(abs(float(after) - float(before) - float(change)) < 2e-6 for _, before, after, change in rows)


def test_finetune_with_fewer_elements(data: Data, tmp_path: Path) -> None:
    def content(type_map: list[str], rate: float) -> inputs.Section:
        section = inputs.model() | {"type_map": type_map}
        return {"model": section} | inputs.training(data.train, None, 2, rate)

    large = train(tmp_path / "large", content(["H", "C", "N", "O"], 1e-2))
    small = train(tmp_path / "small", content(["O", "H"], inputs.FROZEN_RATE), "--finetune", str(large.checkpoint))
    before = predict(large.checkpoint, data.frames, types=(3, 0, 0, 3, 0, 0))
    assert difference(predict(small.checkpoint, data.frames).force, before.force) < 1e-6


def test_finetune_with_the_descriptor_fixed(data: Data, trained: Run, tmp_path: Path) -> None:
    section = inputs.model(inputs.DESCRIPTOR | {"trainable": False})
    content = {"model": section} | inputs.training(data.train, None, 3, 1e-2)
    run = train(tmp_path, content, "--finetune", str(trained.checkpoint))
    before, after = weights(trained.checkpoint), weights(run.checkpoint)
    before.pop("_extra_state")
    changed = {key for key, value in before.items() if not torch.equal(value, after[key])}
    assert not any(key.startswith(DESCRIPTOR) for key in changed)
    assert any("fitting_net" in key for key in changed)


@pytest.mark.skipif(not available(), reason="DeePMD-kit 3.1 does not know `min_pair_dist`")
def test_frames_with_close_atoms_are_left_out(data: Data, trained: Run, tmp_path: Path) -> None:
    """The loss of the first step is that of the other frame alone."""
    system = write_system(tmp_path / "data", toy_frames(2, seed=5))
    path = system / "set.000" / "coord.npy"
    coord = np.load(path)
    coord[1, 3:6] = coord[1, 0:3] + 0.01
    np.save(path, coord)

    def first_loss(folder: str, **options: object) -> float:
        content = {"model": inputs.model(inputs.DESCRIPTOR)} | inputs.training(system, None, 1, 1e-3)
        content["training"]["training_data"] |= {"batch_size": 2, **options}
        run = train(tmp_path / folder, content, "--init-model", str(trained.checkpoint))
        return float(np.loadtxt(run.folder / "lcurve.out", ndmin=2)[0, 1])

    assert first_loss("without", min_pair_dist=0.3) < first_loss("with") / 2


def bias_of(model: Path) -> list[float]:
    """Bias of O and H in eV, of a checkpoint or a frozen file."""
    if model.suffix == ".pth":
        state = torch.jit.load(model, map_location="cpu").state_dict()
        (bias,) = (value for key, value in state.items() if key.endswith("out_bias"))
    else:
        bias = weights(model)["model.Default.atomic_model.out_bias"]
    return bias[0, :, 0].tolist()


@pytest.mark.parametrize("preset", [{"energy": [-3.5, None]}])
def test_a_preset_bias_is_kept_by_every_fit(preset: dict[str, Any], data: Data, tmp_path: Path) -> None:
    section = inputs.model() | {"preset_out_bias": preset}
    content = {"model": section} | inputs.training(data.train, None, 1, inputs.FROZEN_RATE)
    first = train(tmp_path / "first", content)
    assert bias_of(first.checkpoint)[0] == pytest.approx(-3.5)
    second = train(tmp_path / "second", content, "--finetune", str(first.checkpoint))
    assert re.search(r"^  O +-3\.500000 +-3\.500000 +[+-]0\.000000  preset$", second.log, re.MULTILINE)
    folder = second.folder
    dp("change-bias", second.checkpoint, "-s", data.train, "-o", "third.pt", folder=folder)
    dp("freeze", "-c", second.checkpoint, "-o", "model.pth", folder=folder)
    dp("change-bias", "model.pth", "-s", data.train, "-o", "third.pth", folder=folder)
    for path in (second.checkpoint, folder / "third.pt", folder / "third.pth"):
        assert bias_of(path)[0] == pytest.approx(-3.5, abs=1e-9)


@pytest.mark.parametrize(
    "wrong", [[1.0, 2.0], {"energy": [1.0]}, {"energy": [1.0, "two"]}, {"energy": [1.0, None], "dipole": []}]
)
def test_a_preset_bias_that_cannot_be(wrong: object) -> None:
    with pytest.raises(ConfigError, match="`preset_out_bias"):
        preset_bias(wrong, ["O", "H"])
