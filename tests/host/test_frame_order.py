"""A restarted training draws the frames and branches that come next, so it is the one that was not stopped."""

from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deepmd.utils import random as host_random
from torch.utils.data import DataLoader

from deepmd_dpa4.checkpoint.convert import Conversion, convert, write
from deepmd_dpa4.checkpoint.read import FRAME_ORDER, read_checkpoint
from deepmd_dpa4.host.builtin import available
from deepmd_dpa4.host.frame_order import Batches, FrameOrder
from tests.host.test_train import steps
from tests.support import inputs
from tests.support.commands import dp
from tests.support.runs import Run, train
from tests.support.toy import toy_frames, write_system

pytestmark = pytest.mark.skipif(not available(), reason="DeePMD-kit 3.1 writes checkpoints its own way")
STEPS, STOP = 22, 17
"""With two processes that load data, as on two cores, the first pass over them ends after 14 steps."""


@pytest.fixture(scope="module")
def systems(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("systems")
    return [write_system(folder / str(number), toy_frames(number, seed=number)) for number in (5, 8)]


def content(systems: list[Path], number: int, save: int = STOP) -> inputs.Section:
    """Seven batches of two frames in two systems, and as many to validate with."""
    result = {"model": inputs.model()} | inputs.training(systems[0], systems[0], number, 5e-3, save_freq=save)
    for part in ("training_data", "validation_data"):
        result["training"][part]["systems"] = [str(system) for system in systems]
    return result


def branches(systems: list[Path], number: int) -> inputs.Section:
    result = inputs.multi_task(systems[0], number, 5e-3, save_freq=STOP)
    result["training"]["data_dict"]["two"]["training_data"]["systems"] = [str(systems[1])]
    return result


def restart(folder: Path, section: inputs.Section, checkpoint: Path, fresh: bool = False) -> Run:
    return train(folder, section, "--restart", str(checkpoint), "--skip-neighbor-stat", fresh=fresh)


def weights(run: Run) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(run.folder / f"model.ckpt-{STEPS}.pt", weights_only=True)
    return {key: value for key, value in content["model"].items() if isinstance(value, torch.Tensor)}


def assert_same(found: Run, whole: Run) -> None:
    assert steps(found.folder) == list(range(STOP + 1, STEPS + 1))
    curves = [np.loadtxt(run.folder / "lcurve.out") for run in (whole, found)]
    np.testing.assert_array_equal(curves[1], curves[0][STOP:])
    expected = weights(whole)
    for key, value in weights(found).items():
        assert torch.equal(value, expected[key]), key


def test_a_training_that_fails_ends(systems: list[Path], tmp_path: Path) -> None:
    """In a process of its own: its end waits for the processes that load data, which outlive a first SIGTERM."""
    section = content(systems, STEPS)
    section["learning_rate"] = {"type": "cosine", "start_lr": 1e30, "stop_lr": 1e-6}
    inputs.write(tmp_path, section)
    log = dp("train", "input.json", "--skip-neighbor-stat", folder=tmp_path, fails=True, fresh=True)
    assert "NaN" in log


def test_a_pass_that_was_closed_begins_anew() -> None:
    """The processes that load data are gone."""
    loader = DataLoader([0, 1, 2, 3], num_workers=1, collate_fn=int)  # type: ignore[arg-type]
    batches = Batches(loader)
    assert next(batches) == 0
    (process,) = active_children()
    batches.close()
    assert not process.is_alive()
    assert [next(batches) for _ in range(2)] == [0, 1]
    batches.close()


@pytest.mark.parametrize("section", [content, branches])
def test_a_restart_draws_the_frames_that_come_next(section: Any, systems: list[Path], tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", section(systems, STEPS), "--skip-neighbor-stat")
    again = restart(tmp_path / "again", section(systems, STEPS), whole.folder / f"model.ckpt-{STOP}.pt")
    assert_same(again, whole)
    # and once more, so that what a restart itself writes is right
    later = whole.folder / f"model.ckpt-{STEPS}.pt"
    orders = [torch.load(file, weights_only=True)[FRAME_ORDER] for file in (later, again.folder / later.name)]
    for name, part in orders[0]["batches"].items():
        assert part["drawn"] == orders[1]["batches"][name]["drawn"], name
        assert torch.equal(part["began"], orders[1]["batches"][name]["began"]), name
    assert torch.equal(orders[0]["torch"], orders[1]["torch"])


@pytest.fixture(scope="module")
def short(systems: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(tmp_path_factory.mktemp("short"), content(systems, 2, save=1), "--skip-neighbor-stat")


def test_a_branch_drawn_for_a_step_that_is_not_made_comes_again() -> None:
    """A signal ends a training after the branch of the next step was drawn."""
    order = FrameOrder({})
    host_random.seed(3)
    order.step_made()
    drawn = [host_random.choice(100) for _ in range(2)]
    kept = order.state()["numpy"]
    name, keys, *rest = kept
    host_random._RANDOM_GENERATOR.set_state((name, keys.numpy().astype(np.uint32), *rest))
    assert [host_random.choice(100) for _ in range(2)] == drawn


def test_conversion_keeps_the_order(short: Run, tmp_path: Path) -> None:
    write(convert(read_checkpoint(short.checkpoint), Conversion("official")).checkpoint, tmp_path / "model.pt")
    orders = [torch.load(file, weights_only=True)[FRAME_ORDER] for file in (short.checkpoint, tmp_path / "model.pt")]
    assert torch.equal(orders[0]["torch"], orders[1]["torch"])
    assert orders[0]["batches"].keys() == orders[1]["batches"].keys()


def test_the_same_input_gives_the_same_training(short: Run, systems: list[Path], tmp_path: Path) -> None:
    again = train(tmp_path, content(systems, 2, save=1), "--skip-neighbor-stat")
    files = [torch.load(run.checkpoint, weights_only=True) for run in (short, again)]
    for key, value in files[0]["model"].items():
        assert key == "_extra_state" or torch.equal(files[1]["model"][key], value), key
    curves = [(run.folder / "lcurve.out").read_text() for run in (short, again)]
    assert curves[0] == curves[1]


def test_other_data_are_drawn_afresh(short: Run, systems: list[Path], tmp_path: Path) -> None:
    other = content(systems, 4)
    other["training"]["training_data"]["batch_size"] = 1
    run = restart(tmp_path, other, short.checkpoint)
    assert "drawn as at the beginning of a training: batches of the systems were [3, 4] and are [5, 8]" in run.log


def test_a_checkpoint_without_an_order_is_told(short: Run, systems: list[Path], tmp_path: Path) -> None:
    file = torch.load(short.checkpoint, weights_only=True)
    del file[FRAME_ORDER]
    torch.save(file, tmp_path / "old.pt")
    run = restart(tmp_path / "again", content(systems, 4), tmp_path / "old.pt")
    assert "the checkpoint does not say where the last one stopped" in run.log


def test_without_loading_processes_the_order_is_lost(
    short: Run, systems: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUM_WORKERS", "0")
    run = restart(tmp_path, content(systems, 4), short.checkpoint, fresh=True)
    assert "their order cannot be taken up again" in run.log
    assert steps(run.folder) == [3, 4]


def test_the_builtin_restarts_from_it(short: Run, systems: list[Path], tmp_path: Path) -> None:
    train(tmp_path, content(systems, 4), "--restart", str(short.checkpoint), "--skip-neighbor-stat", official=True)
    assert len(steps(tmp_path)) == 3  # it makes the last step again
