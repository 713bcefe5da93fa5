"""Fine-tuning: weights of the checkpoint, fitted biases, elements, what is trained, frames that are left out."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from deepmd_dpa4.host.builtin import available
from tests.host.test_train import DESCRIPTOR, weights
from tests.support import inputs
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
