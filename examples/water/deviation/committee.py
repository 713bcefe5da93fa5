"""Train a committee of four networks on the 300 K frames of the water data, and let it judge frames of 300 to 600 K.

Run ``python committee.py``. The networks differ in their random seeds alone. Writes the frozen models ``model1.pth`` to
``model4.pth``, the validation frames of each temperature, and for these ``deviation.out`` and ``error.out``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "data"
TEMPERATURES = (300, 400, 500, 600)
"""Of the frames of both data sets, in equal parts and in this order."""
SEEDS = (1, 2, 3, 4)


def write_frames(source: Path, part: int, folder: Path) -> None:
    """Frames of one temperature as a data set of their own."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    for path in folder.glob("set.000/*.npy"):
        frames = np.load(path)
        np.save(path, np.split(frames, len(TEMPERATURES))[part])


def with_seed(content: dict[str, Any], seed: int, steps: int) -> dict[str, Any]:
    """The input with other random numbers: first weights of both networks, and order of the frames."""
    content["model"]["descriptor"]["seed"] = content["model"]["fitting_net"]["seed"] = seed
    content["training"] |= {"seed": seed, "numb_steps": steps, "save_freq": steps}
    content["training"]["training_data"]["systems"] = ["../train/300K"]
    return content


def run(command: list[str], folder: Path) -> None:
    """Run a command that is installed with this Python; what it prints goes to ``log`` in its folder."""
    with (folder / "log").open("a") as log:
        print(f"{folder.name}: {' '.join(command)}", flush=True)
        program = Path(sys.executable).with_name(command[0])
        subprocess.run([program, *command[1:]], cwd=folder, stdout=log, stderr=subprocess.STDOUT, check=True)


def train(folder: Path, seed: int, steps: int) -> None:
    """One member: train and freeze."""
    folder.mkdir(exist_ok=True)
    content = with_seed(json.loads((HERE / "input.json").read_text()), seed, steps)
    (folder / "input.json").write_text(json.dumps(content, indent=2))
    run(["dp", "--pt", "train", "input.json"], folder)
    run(["dp", "--pt", "freeze", "-o", f"../model{seed}.pth"], folder)


def main() -> None:
    """Train, freeze, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--steps", type=int, default=400, help="training steps of each member")
    steps = parser.parse_args().steps
    write_frames(DATA / "train", 0, HERE / "train" / "300K")
    for part, temperature in enumerate(TEMPERATURES):
        write_frames(DATA / "valid", part, HERE / "valid" / f"{temperature}K")
    for seed in SEEDS:
        train(HERE / f"seed{seed}", seed, steps)
    models = [f"seed{seed}/model.ckpt.pt" for seed in SEEDS]
    run(["dp", "--pt", "model-devi", "-m", *models, "-s", "valid", "-o", "deviation.out"], HERE)
    run(["dp", "--pt", "model-devi", "-m", *models, "-s", "valid", "-o", "error.out", "--real_error"], HERE)


if __name__ == "__main__":
    main()
