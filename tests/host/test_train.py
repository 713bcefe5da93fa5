"""``dp --pt train`` and the ways to go on from a checkpoint."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support import inputs
from tests.support.predict import difference, predict
from tests.support.runs import Data, Run, train

DESCRIPTOR = "model.Default.atomic_model.descriptor."


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, map_location="cpu", weights_only=True)["model"]


def steps(folder: Path) -> list[int]:
    return np.loadtxt(folder / "lcurve.out", ndmin=2)[:, 0].astype(int).tolist()


def test_the_plugin_builds_the_model_and_says_so(trained: Run) -> None:
    assert re.search(r"is built by deepmd-dpa4 [\d.]+, (native|plain torch) kernels, (threads: \d+|cuda)", trained.log)


def test_learning_curve_falls(trained: Run) -> None:
    with (trained.folder / "lcurve.out").open() as file:
        names = file.readline().lstrip("#").split()
    curve = np.loadtxt(trained.folder / "lcurve.out")
    assert np.isfinite(curve).all()
    for name in ("rmse_f_trn", "rmse_f_val"):
        column = curve[:, names.index(name)]
        assert column[-5:].mean() < 0.5 * column[:3].mean(), name


def test_restart_goes_on_at_the_next_step(data: Data, trained: Run, tmp_path: Path) -> None:
    content = {"model": inputs.model(inputs.DESCRIPTOR)} | inputs.training(data.train, None, 63, inputs.FROZEN_RATE)
    content["learning_rate"] |= inputs.VANISHING
    run = train(tmp_path, content, "--restart", str(trained.checkpoint))
    before, after = weights(trained.checkpoint), weights(run.checkpoint)
    # the number in the file counts from zero, and is that of the last step
    first = before["_extra_state"]["train_infos"]["step"] + 2
    assert first >= 61
    assert steps(run.folder) == list(range(first, 64))
    assert before.keys() == after.keys()
    for key, value in before.items():
        if key.startswith(DESCRIPTOR) and value.numel() > 0 and value.is_floating_point():
            # the host scales the schedule by the rate of the file: not zero, but below 1e-10
            assert (value - after[key]).abs().max() < 1e-8, key


def test_init_model_takes_the_weights_but_counts_anew(data: Data, trained: Run, tmp_path: Path) -> None:
    content = {"model": inputs.model(inputs.DESCRIPTOR)} | inputs.training(data.train, None, 2, inputs.FROZEN_RATE)
    run = train(tmp_path, content, "--init-model", str(trained.checkpoint), "--skip-neighbor-stat")
    assert steps(run.folder) == [1, 2]
    assert "Calculate neighbor statistics" not in run.log
    assert difference(predict(run.checkpoint, data.frames).force, predict(trained.checkpoint, data.frames).force) < 1e-6


def test_shortest_input_of_the_official_implementation(data: Data, tmp_path: Path) -> None:
    """No ``fitting_net``; also the aliases of names and options, and a measured ``sel``."""
    descriptor = {key: value for key, value in inputs.SMALL.items() if key not in ("mixing_layers", "sel")}
    descriptor |= {"type": "DPA4", "so2_layers": 2, "sel": "auto"}
    section = {"type": "DPA4", "type_map": ["O", "H"], "descriptor": descriptor}
    run = train(tmp_path, {"model": section} | inputs.training(data.train))
    assert "is built by deepmd-dpa4" in run.log
    used = json.loads((tmp_path / "out.json").read_text())["model"]["descriptor"]
    assert used["mixing_layers"] == 2
    assert isinstance(used["sel"], int | list)
    assert not re.search(r"mixing_layers\.\d", run.log)
    key = DESCRIPTOR + "blocks.0.so2_conv.so2_linears.1."
    assert any(name.startswith(key) for name in weights(run.checkpoint))


def count_neighbors(system: Path, rcut: float) -> int:
    """Largest number of neighbors, by trying all pairs with all images around the cell."""
    coord = np.load(system / "set.000" / "coord.npy").reshape(-1, 6, 3)
    cell = np.load(system / "set.000" / "box.npy").reshape(-1, 3, 3)
    images = np.stack(np.meshgrid(*[range(-2, 3)] * 3), -1).reshape(-1, 3) @ cell
    distance = np.linalg.norm(coord[:, None, :, None] + images[:, :, None, None] - coord[:, None, None], axis=-1)
    return int(((distance > 1e-6) & (distance < rcut)).sum(axis=(1, 2)).max())


def test_neighbours_of_an_atom_that_has_flown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search of pairs would end the process."""
    from deepmd_dpa4.host import statistics

    coord, types = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1e6], [0.0, 0.9, 1e6]]), np.array([0, 1, 1])
    monkeypatch.setattr(statistics, "frames", lambda data: iter([("folder", coord, types, None)]))
    smallest, largest = statistics.measure_neighbors(None, 6.0)
    assert (smallest, largest) == (pytest.approx(0.9), 1)


@pytest.mark.parametrize("sel", ["auto", "auto:1.5"])
def test_measured_sel_covers_the_data(data: Data, sel: str) -> None:
    from deepmd.utils.data_system import DeepmdDataSystem

    from deepmd_dpa4.host.descriptor import DescriptorDPA4
    from deepmd_dpa4.host.statistics import measure_neighbors

    systems = DeepmdDataSystem([str(data.train)], 1, 1, 4.0, type_map=["O", "H"])
    section, smallest = DescriptorDPA4.update_sel(systems, ["O", "H"], {"rcut": 4.0, "sel": sel})
    nearest, largest = measure_neighbors(systems, 4.0)
    assert largest == count_neighbors(data.train, 4.0)
    factor = float(sel.split(":")[1]) if ":" in sel else 1.1
    assert section["sel"] >= factor * largest
    assert 0.3 < smallest == nearest < 1.2
