"""Snippets of the documentation, and examples made short enough for a test."""

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.commands import BIN, ROOT, call, dp, dpa4, stand_ins

FRAMES = 4
WATER_ATOMS = 24
"""Of 96: first molecules, which cost a tenth."""
DATA_OPTIONS = {"batch_size": 1, "numb_btch": 1}


def blocks(page: Path, language: str) -> list[str]:
    """Contents of the fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def copy_examples(folder: Path) -> Path:
    """Copy of the examples with little data, without earlier results; returns that of the water example."""
    ignore = shutil.ignore_patterns(
        "demo", "converted", "results", "*.pt", "*.pth", "*.pt2", "*.out", "log.*", "checkpoint", "__pycache__"
    )
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=ignore)
    water = folder / "examples" / "water"
    for path in (folder / "examples").glob("*/data/*/**/set.000/*.npy"):
        np.save(path, np.load(path)[:FRAMES])
    for example in ("water", "finetune"):
        for system in (folder / "examples" / example / "data").iterdir():
            keep_atoms(system, WATER_ATOMS)
    inputs = [path for depth in ("*/*.json", "*/*/*.json") for path in (folder / "examples").glob(depth)]
    for path in inputs:
        content = json.loads(path.read_text())
        if "training" in content:  # others are those of DP-GEN
            path.write_text(json.dumps(shortened(content)))
    return water


def keep_atoms(system: Path, count: int) -> None:
    """Leave the first atoms of a system, with their share of the energy."""
    types = (system / "type.raw").read_text().split()
    (system / "type.raw").write_text("\n".join(types[:count]) + "\n")
    for name in ("coord", "force", "energy"):
        for path in system.glob(f"set.*/{name}.npy"):
            values = np.load(path)
            np.save(path, values * (count / len(types)) if name == "energy" else values[:, : 3 * count])


def shortened(config: dict[str, Any], steps: int = 2) -> dict[str, Any]:
    """An input that trains for a few steps of one frame each."""
    training = config["training"]
    training |= {"numb_steps": steps, "disp_freq": steps, "save_freq": steps}
    # neither a warm-up nor a decay phase fits into so few steps
    config["learning_rate"] = {"type": "exp", "start_lr": 1e-3, "stop_lr": 1e-5, "decay_steps": 1}
    for branch in training.get("data_dict", {"": training}).values():
        branch["training_data"]["batch_size"] = 1
        if "validation_data" in branch:
            branch["validation_data"] |= DATA_OPTIONS
    return config


def run_block(text: str, folder: Path, more: tuple[str, ...] = ()) -> list[str]:
    """Run the lines of a snippet, scripts with ``more`` arguments; returns what each printed."""
    return [run_line(shlex.split(line), folder, more) for line in text.splitlines() if line.strip()]


def run_line(words: list[str], folder: Path, more: tuple[str, ...] = ()) -> str:
    """One command, perhaps with ``DEEPMD_DPA4=builtin`` in front."""
    official = words[0] == "DEEPMD_DPA4=builtin"
    words = words[1:] if official else words
    if words[0] == "dp":
        assert words[1] == "--pt"
        return dp(*words[2:], folder=folder, official=official)
    if words[0] == "dpa4":
        return dpa4(*words[1:], folder=folder)
    if words[0] == "python":
        return call([stand_ins() / "python", *words[1:], *more], folder)
    assert words[0] == "lmp", f"a test would have to know how to run `{words[0]}`"
    return call([BIN / "lmp", *words[1:], "-var", "steps", "2"], folder)
