"""The commands ``dp`` and ``lmp`` as the benchmarks run them."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import systems
from compare import OURS, Bench, BenchmarkError, Finished, beside_python, run_process

BATCH = re.compile(r"Batch +(\d+): total wall time = ([0-9.]+) s")
LOOP = re.compile(r"Loop time of ([0-9.e+-]+) on \d+ procs? for (\d+) steps")


def dp(bench: Bench, side: str, *arguments: Any, folder: Path, mark: str = r"(?!)") -> Finished:
    """``dp --pt ...`` of one side."""
    return run_process([needed("dp"), "--pt", *arguments], folder, bench.environment(side), mark)


def needed(name: str) -> Path:
    """A command installed with this interpreter."""
    path = beside_python(name)
    if path is None:
        raise BenchmarkError(f"the command `{name}` is not installed beside this Python")
    return path


def write_input(bench: Bench, side: str, model: str, data: Path, folder: Path, steps: int, display: int) -> Path:
    """``input.json`` like ``examples/water/train.json``, on other data, without validation; returns its folder.

    The learning rate is that of a short training: neither warm-up nor decay of the original fit into it.
    """
    config = json.loads((systems.WATER / "train.json").read_text())
    config["model"] = bench.model(model, side)
    config["learning_rate"] = {"type": "exp", "start_lr": 1e-4, "stop_lr": 1e-5, "decay_steps": 1}
    training = config["training"]
    del training["validation_data"]
    training["training_data"]["systems"] = [str(data)]
    training |= {"numb_steps": steps, "disp_freq": display, "save_freq": steps}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "input.json").write_text(json.dumps(config, indent=2))
    return folder


def seconds_per_batch(output: str, display: int) -> list[float]:
    """What the log says for each full interval of ``display`` batches but the first, which warms up.

    Raises
    ------
    BenchmarkError
        If the log has none.
    """
    batches = [(int(batch), float(seconds)) for batch, seconds in BATCH.findall(output)]
    times = [seconds / display for batch, seconds in batches if batch > display]
    if not times:
        raise BenchmarkError(f"no wall times in the log of the training:\n{output[-2000:]}")
    return times


def seconds_per_step(output: str) -> float:
    """Of the last run in the output of LAMMPS."""
    found = LOOP.findall(output)
    if not found:
        raise BenchmarkError(f"no loop time in the output of LAMMPS:\n{output[-2000:]}")
    return float(found[-1][0]) / int(found[-1][1])


def checkpoint(bench: Bench, model: str, folder: Path) -> Path:
    """Train a network of this package for one step; returns the checkpoint, which either side can freeze."""
    data = systems.write_data(folder / "data", systems.CELL_ATOMS, 2)
    train = write_input(bench, OURS, model, data, folder / "train", 1, 1)
    dp(bench, OURS, "train", "input.json", folder=train)
    return train / "model.ckpt-1.pt"


def freeze_native(bench: Bench, saved: Path, output: Path) -> Finished | None:
    """A file with native operators; None where the command is not there or has no native operators to offer."""
    command = beside_python("dpa4")
    if command is None:
        return None
    arguments = ["freeze", saved, "--kernels", "native", "-o", output]
    try:
        return run_process([command, *arguments], output.parent, bench.environment(OURS))
    except BenchmarkError as error:
        print(f"no native file: {error}")
        return None
