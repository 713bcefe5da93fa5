"""Fine-tune a model of GFN1-xTB water to 50 frames of GFN2-xTB in several ways, and train from scratch beside it.

Every training runs by ``dp --pt train`` in a folder of its own under ``results``, next to this file. Prints a table of
validation errors and draws it as ``errors.png``.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
from rich.console import Console
from rich.table import Table

mpl.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).resolve().parent
WATER = HERE.parent / "water"
WAYS = {
    "from scratch": "scratch.json",
    "all weights": "finetune.json",
    "low rank": "low_rank.json",
    "descriptor fixed": "fixed.json",
}
PRETRAINED = "not fine-tuned"


def dp(*arguments: str, folder: Path) -> str:
    """Run ``dp --pt`` of this Python and return what it printed."""
    command = [str(Path(sys.executable).with_name("dp")), "--pt", *arguments]
    run = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if run.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{run.stdout[-3000:]}")
    return run.stdout


def train(source: Path, folder: Path, *arguments: str) -> Path:
    """Train the input ``source``, whose data lie beside it, in ``folder``; returns the checkpoint."""
    config = json.loads(source.read_text())
    for key in ("training_data", "validation_data"):
        data = config["training"][key]
        data["systems"] = [str(source.parent / path) for path in data["systems"]]
    folder.mkdir(parents=True)
    (folder / "input.json").write_text(json.dumps(config, indent=2))
    dp("train", "input.json", *arguments, folder=folder)
    return folder / "model.ckpt.pt"


def errors(checkpoint: Path) -> tuple[float, float]:
    """RMSE on the validation data: energy in meV/atom, force in eV/A."""
    printed = dp("test", "-m", checkpoint.name, "-s", str(HERE / "data" / "valid"), folder=checkpoint.parent)
    found = {name: float(value) for name, value in re.findall(r"(\S+ +RMSE\S*) *: *([-+\d.eE]+)", printed)}
    by_name = {re.sub(" +", " ", name): value for name, value in found.items()}
    return by_name["Energy RMSE/Natoms"] * 1000, by_name["Force RMSE"]


def draw(results: dict[str, tuple[float, float]], target: Path) -> None:
    """Bars of the force errors."""
    figure, axes = plt.subplots(figsize=(6, 2.6), layout="constrained")
    names = list(results)[::-1]
    bars = axes.barh(names, [results[name][1] for name in names], color="#0072B2")
    axes.bar_label(bars, fmt="%.3f", padding=3)
    axes.set_xlabel("force RMSE on GFN2-xTB validation data (eV/Å)")
    axes.margins(x=0.12)
    figure.savefig(target, dpi=150)


def main() -> None:
    """Train, test, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pretrained", type=Path, help="checkpoint to start from, instead of training one")
    parser.add_argument("--picture", type=Path, default=HERE / "errors.png")
    options = parser.parse_args()
    results_folder = HERE / "results"
    shutil.rmtree(results_folder, ignore_errors=True)
    start = (
        options.pretrained.resolve()
        if options.pretrained
        else train(WATER / "demo.json", results_folder / "pretrained")
    )
    results = {PRETRAINED: errors(start)}
    for name, source in WAYS.items():
        how = () if name == "from scratch" else ("--finetune", str(start))
        results[name] = errors(train(HERE / source, results_folder / name.replace(" ", "-"), *how))
    table = Table("training", "energy RMSE, meV/atom", "force RMSE, eV/Å")
    for name, (energy, force) in results.items():
        table.add_row(name, "" if name == PRETRAINED else f"{energy:.1f}", f"{force:.3f}")
    Console().print(table)
    draw(results, options.picture)


if __name__ == "__main__":
    main()
