"""Ctrl-C and SIGTERM end a training with a checkpoint, and no other training writes into its files."""

import os
import signal
import time
from contextlib import suppress
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch

from deepmd_dpa4.files import WriteError
from deepmd_dpa4.host.builtin import available
from deepmd_dpa4.host.folder_lock import Claim, TrainingRuns
from deepmd_dpa4.host.interruption import Interruption
from tests.host.test_bad_input import complaint
from tests.host.test_restart import content, frame  # noqa: F401
from tests.host.test_train import steps
from tests.support import inputs
from tests.support.commands import dp, warm
from tests.support.runs import train

LONG = 100_000


def descendants(process: int) -> list[int]:
    """A process and all that it started, those that hand over data among them, as a batch system reaches them."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:  # it has ended
        return []
    return [process, *(part for child in children for part in descendants(int(child)))]


def send(number: signal.Signals, curve: Path, lines: int) -> None:
    """Send a signal to the command that runs, and to its processes that load data, after some lines of its curve."""
    end = time.monotonic() + 250
    while time.monotonic() < end:
        if curve.is_file() and len(curve.read_text().splitlines()) >= lines:
            for process in descendants(warm(False).pid)[1:]:
                with suppress(ProcessLookupError):
                    os.kill(process, number)
            return
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="the signal is for a forked command")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_training_goes_on_as_if_it_had_not_been(
    number: signal.Signals,
    status: int,
    frame: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    folder = tmp_path / "stopped"
    section = content(frame, LONG)
    section["training"] |= {"save_freq": LONG} | ({"enable_ema": True} if available() else {})
    inputs.write(folder, section)
    sender = Thread(target=send, args=(number, folder / "lcurve.out", 4))
    sender.start()
    with pytest.raises(AssertionError, match=f" returned {status}\n"):
        dp("train", "input.json", "--skip-neighbor-stat", folder=folder)
    sender.join()
    log = (folder / "dp.log").read_text()
    last = steps(folder)[-1]
    assert "Traceback" not in log
    assert f"interrupted by {number.name} after step {last}; go on with --restart model.ckpt-{last}.pt" in log
    for name in ("model.ckpt", "model_ema.ckpt") if available() else ("model.ckpt",):
        assert (folder / f"{name}.pt").resolve().name == f"{name}-{last}.pt"

    section["training"] |= {"numb_steps": last + 2, "save_freq": last + 2}
    whole = train(tmp_path / "whole", section, "--skip-neighbor-stat")
    again = train(folder, section, "--restart", f"model.ckpt-{last}.pt", "--skip-neighbor-stat")
    expected, found = (torch.load(part.checkpoint, weights_only=True) for part in (whole, again))
    for key, value in expected["model"].items():
        if key != "_extra_state":
            assert torch.equal(found["model"][key], value), key
    np.testing.assert_array_equal(*(np.loadtxt(part.folder / "lcurve.out") for part in (whole, again)))


class Trainer:
    start_step = 3


class Rate:
    start = 1.0

    def value(self, step: int) -> float:
        return 0.1 * step


def test_no_checkpoint_without_a_step(caplog: pytest.LogCaptureFixture) -> None:
    interruption = Interruption(Trainer(), Rate())
    assert interruption.start == Rate.start
    assert interruption.value(3) == Rate().value(3)
    interruption.receive(signal.SIGTERM, None)
    with pytest.raises(SystemExit) as stop:
        interruption.value(3)
    assert stop.value.code == 143
    assert "interrupted by SIGTERM before the first step" in caplog.text


def test_a_second_interrupt_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    interruption = Interruption(Trainer(), Rate())
    interruption.receive(signal.SIGINT, None)
    interruption.receive(signal.SIGINT, None)  # the same, sent twice
    monkeypatch.setattr(time, "monotonic", lambda: interruption.since + 5)
    with pytest.raises(KeyboardInterrupt):
        interruption.receive(signal.SIGINT, None)


def settings(folder: Path, curve: str = "lcurve.out", checkpoints: str = "model.ckpt") -> dict[str, Any]:
    return {"training": {"disp_file": str(folder / curve), "save_ckpt": str(folder / checkpoints)}}


def test_a_learning_curve_belongs_to_one_training(tmp_path: Path) -> None:
    first = Claim(settings(tmp_path))
    with pytest.raises(TrainingRuns, match=r"`training/disp_file` is '.*lcurve\.out', which a running training"):
        Claim(settings(tmp_path))
    first.give_up()
    assert not (tmp_path / "lcurve.out").exists()
    second = Claim(settings(tmp_path))
    (tmp_path / "lcurve.out").write_text("1 2\n")
    second.give_up()
    assert (tmp_path / "lcurve.out").read_text() == "1 2\n"
    Claim(settings(tmp_path)).give_up()


def test_checkpoints_belong_to_one_training(tmp_path: Path) -> None:
    """A learning curve of its own does not keep checkpoints apart."""
    first = Claim(settings(tmp_path))
    with pytest.raises(TrainingRuns, match=r"`training/save_ckpt` is '.*model\.ckpt', which a running training"):
        Claim(settings(tmp_path, curve="second.out"))
    assert not (tmp_path / "second.out").exists()
    second = Claim(settings(tmp_path, curve="second.out", checkpoints="second"))
    first.give_up()
    second.give_up()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ({"curve": "no/lcurve.out"}, "`training/disp_file` is '.*lcurve.out' but cannot be written in .*no: No such"),
        ({"checkpoints": "no/model"}, "`training/save_ckpt` is '.*model' but cannot be written in .*no: No such"),
    ],
)
def test_a_folder_that_is_not_there(names: dict[str, str], told: str, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=told):
        Claim(settings(tmp_path, **names))
    assert list(tmp_path.iterdir()) == []


def answer(training: Connection) -> None:
    training.send("forked")
    training.recv()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_learning_curve_is_free_while_processes_of_a_killed_training_live(tmp_path: Path) -> None:
    first = Claim(settings(tmp_path))
    here, there = Pipe()
    loader = get_context("fork").Process(target=answer, args=(there,), daemon=True)
    loader.start()
    assert here.recv() == "forked"
    with pytest.raises(TrainingRuns):  # the forked process must not give it up for the training
        Claim(settings(tmp_path))
    first.leave_to_parent()  # as if it had been killed
    Claim(settings(tmp_path)).give_up()
    here.send("end")
    loader.join()
    assert loader.exitcode == 0


def test_a_second_training_in_a_folder_is_refused(frame: Path, tmp_path: Path) -> None:  # noqa: F811
    holder = Claim(settings(tmp_path))
    message = complaint(content(frame, 1), tmp_path, "--skip-neighbor-stat")
    assert len(message.splitlines()) == 1
    assert "which a running training writes" in message and "start this one in another folder" in message
    assert not (tmp_path / "model.ckpt.pt").exists()
    holder.give_up()


def test_a_failed_start_leaves_no_learning_curve(frame: Path, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "none.pt").write_text("no checkpoint")
    complaint(content(frame, 1), tmp_path, "--restart", "none.pt", "--skip-neighbor-stat")
    assert not (tmp_path / "lcurve.out").exists()
