"""Does a training that is killed at any moment leave whole files and go on as if nothing had happened?

A tiny training is killed (SIGKILL) at random moments, some of them while a checkpoint is being written, and restarted
from its newest checkpoint until it has made all steps. Every checkpoint under a final name has to load, and the weights
and the state of the optimizer at the end have to equal, bit for bit, those of a training that nobody killed, with one
frame and with several in batches of two. About a quarter of a minute for each kill.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import systems
import torch
from commands import needed
from compare import HERE, BenchmarkError
from worker import machine

STEPS, SAVE = 400, 4


def main(arguments: list[str] | None = None) -> None:
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("--kills", type=int, default=20, help="for each number of frames; default %(default)s")
    command.add_argument("--writing", type=int, default=3, help="of these, during a checkpoint; default %(default)s")
    command.add_argument("--frames", type=int, nargs="+", default=[1, 4], help="default %(default)s")
    command.add_argument("--steps", type=int, default=STEPS, help="default %(default)s")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("-o", "--output", type=Path, default=HERE / "results" / "kills.json")
    options = command.parse_args(arguments)
    record: dict[str, Any] = {"question": (__doc__ or "").split("\n")[0], "machine": machine(), "frames": {}}
    for frames in options.frames:
        chance = random.Random(options.seed)
        with tempfile.TemporaryDirectory() as name:
            found = killed(Path(name), frames, options, chance)
        print(f"{frames} frames: {json.dumps(found)}", flush=True)
        record["frames"][frames] = found
        options.output.write_text(json.dumps(record, indent=1) + "\n")


def killed(folder: Path, frames: int, options: argparse.Namespace, chance: random.Random) -> dict[str, Any]:
    """Train without and with kills, and compare."""
    data = systems.write_data(folder / "data", systems.CELL_ATOMS, frames)
    whole, broken = (prepare(folder / name, data, frames, options.steps) for name in ("whole", "broken"))
    start = time.perf_counter()
    process = launch(whole)
    while newest(whole) is None and process.poll() is None:
        time.sleep(0.05)
    startup = time.perf_counter() - start
    finish(process, whole)
    length = time.perf_counter() - start
    # kills leave the last ones something to interrupt
    stretch = 1.5 * (length - startup) / options.kills
    done: list[dict[str, Any]] = []
    damaged: list[str] = []
    while len(done) < options.kills:
        before = newest(broken)
        process = launch(broken)
        if len(done) >= options.kills - options.writing:
            how = kill_while_writing(process, broken)
        elif len(done) % 4 == 3:
            how = kill_after(process, chance.uniform(0, startup))
        else:
            # how long the start takes depends on what else the machine does
            while newest(broken) == before and process.poll() is None:
                time.sleep(0.01)
            how = kill_after(process, chance.uniform(0, stretch))
        done.append({"kill": how, "newest": newest(broken)})
        damaged += [path.name for path in broken.glob("*.pt") if not loads(path)]
        if how == "ended":
            break
        print(f"  {done[-1]}", flush=True)
    finish(launch(broken), broken)
    difference = compare(final(whole, options.steps), final(broken, options.steps))
    return {"kills": done, "damaged files": damaged, "largest difference": difference, "seconds unkilled": length}


def prepare(folder: Path, data: Path, frames: int, steps: int) -> Path:
    """Write the input of a training in batches of two frames, if there are as many."""
    content = json.loads((systems.WATER / "demo.json").read_text())
    content["model"] = systems.network("tiny")
    content["learning_rate"] = {"type": "exp", "start_lr": 1e-3, "stop_lr": 1e-5, "decay_steps": 10}
    training = content["training"]
    del training["validation_data"]
    training["training_data"] = {"systems": [str(data)], "batch_size": min(2, frames)}
    training |= {"numb_steps": steps, "disp_freq": 10, "save_freq": SAVE}
    folder.mkdir()
    (folder / "input.json").write_text(json.dumps(content))
    return folder


def newest(folder: Path) -> str | None:
    """The checkpoint that a user restarts from."""
    link = folder / "model.ckpt.pt"
    return str(link.readlink()) if link.is_symlink() else None


def launch(folder: Path) -> subprocess.Popen[bytes]:
    """Start a training, or restart it if there is a checkpoint."""
    again = ["--restart", "model.ckpt.pt"] if newest(folder) else []
    words = [needed("dp"), "--pt", "train", "input.json", "--skip-neighbor-stat", *again]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with (folder / "log").open("ab") as log:
        return subprocess.Popen([str(word) for word in words], cwd=folder, env=environment, stdout=log, stderr=log)


def finish(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait for a training that nobody kills."""
    if process.wait():
        raise BenchmarkError((folder / "log").read_text(errors="replace")[-2000:])


def kill_after(process: subprocess.Popen[bytes], seconds: float) -> str:
    """Kill at a moment; tells which, or that the training had ended."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return f"after {seconds:.2f} s"
    return "ended"


def kill_while_writing(process: subprocess.Popen[bytes], folder: Path) -> str:
    """Kill while a checkpoint has a temporary name."""
    for path in folder.glob(".*.partial"):
        # left by another kill
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    while process.poll() is None:
        partial = next(folder.glob(".model.ckpt-*.partial"), None)
        if partial is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return f"writing {partial.name}"
    return "ended"


def loads(path: Path) -> bool:
    """Whether a checkpoint is whole."""
    try:
        torch.load(path, weights_only=True)
    except Exception as error:
        print(f"  {path.name}: {error}", flush=True)
        return False
    return True


def final(folder: Path, steps: int) -> dict[str, Any]:
    return torch.load(folder / f"model.ckpt-{steps}.pt", weights_only=True)


def compare(expected: dict[str, Any], found: dict[str, Any]) -> float:
    """Largest difference between weights and between states of the optimizer; 0 is the same bit for bit."""
    pairs = [(value, found["model"][key]) for key, value in expected["model"].items() if torch.is_tensor(value)]
    for number, state in expected["optimizer"]["state"].items():
        other = found["optimizer"]["state"][number]
        pairs += [(value, other[key]) for key, value in state.items() if torch.is_tensor(value)]
    return max(float(np.abs((a.double() - b.double()).numpy()).max(initial=0.0)) for a, b in pairs)


if __name__ == "__main__":
    main()
