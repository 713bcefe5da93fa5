"""Train one model on data of three methods, and the same network on the smallest data set alone, and compare errors.

Run ``python pretrain.py``. Everything goes into the folder ``results`` next to this file, which is emptied first; the
picture is ``pretraining.png``.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from rich.console import Console
from rich.table import Table

from deepmd_dpa4 import Evaluator
from deepmd_dpa4.tools.plots.lcurve import read
from deepmd_dpa4.tools.plots.parity import Comparison, compare

HERE = Path(__file__).resolve().parent
OUT = HERE / "results"
SMALL = "gfn2"
MILLI = 1000
TITLES = {"together": "three branches", "alone": f"{SMALL} alone"}

console = Console(highlight=False)
Section = dict[str, Any]
Errors = dict[tuple[str, str, str], list[Comparison]]


def command(*words: str | Path, folder: Path = HERE) -> None:
    """Run a command that lies beside this Python; what it prints goes to a file in the folder of results."""
    log = OUT / f"{folder.name}-{Path(words[0]).name}.log"
    environment = {"OMP_NUM_THREADS": str(min(os.cpu_count() or 1, 2)), "OMP_WAIT_POLICY": "passive", **os.environ}
    line = [str(Path(sys.executable).with_name(str(words[0]))), *map(str, words[1:])]
    with log.open("a") as stream:
        run = subprocess.run(line, cwd=folder, stdout=stream, stderr=subprocess.STDOUT, env=environment, check=False)
    if run.returncode:
        sys.exit(f"`{' '.join(map(str, words))}` failed; what it printed is in {log}")


def convert() -> None:
    """Folders of mixed type, which all data of a branch must be if some are."""
    sources = {path.stem: path for path in sorted((HERE / "molecules").glob("*.xyz"))}
    sources |= {f"water-{part}": HERE.parent / "water" / "data" / part for part in ("train", "valid")}
    shutil.rmtree(HERE / "converted", ignore_errors=True)
    for name, source in sources.items():
        command("dpa4", "data", "convert", source, "-o", HERE / "converted" / name, "--mixed")


def alone(together: Section) -> Section:
    """Input of the small branch: same network, schedule and number of its own steps."""
    config = copy.deepcopy(together)
    shared, training = config["model"]["shared_dict"], config["training"]
    probabilities = training.pop("model_prob")
    training |= training.pop("data_dict")[SMALL]
    training["numb_steps"] = round(training["numb_steps"] * probabilities[SMALL] / sum(probabilities.values()))
    fitting = {key: value for key, value in shared["fitting"].items() if "case" not in key}
    model = {"type_map": shared["types"], "descriptor": shared["descriptor"], "fitting_net": fitting}
    return config | {"model": {"type": "dpa4", **model}, "loss": config.pop("loss_dict")[SMALL]}


def train(name: str, config: Section) -> None:
    """Train in a folder of its own; paths of data follow."""
    folder = OUT / name
    folder.mkdir()
    training = config["training"]
    training["save_freq"] = training["numb_steps"]
    training["disp_freq"] = max(training["numb_steps"] // 20, 1)
    for branch in training.get("data_dict", {SMALL: training}).values():
        for part in ("training_data", "validation_data"):
            branch[part]["systems"] = [os.path.relpath(HERE / system, folder) for system in branch[part]["systems"]]
    (folder / "input.json").write_text(json.dumps(config, indent=2))
    console.print(f"training: {TITLES[name]}, {training['numb_steps']} steps ...")
    command("dp", "--pt", "train", "input.json", folder=folder)


def evaluate(branches: Section, frames: int | None) -> Errors:
    """Errors of the averaged weights, by training, branch and validation data."""
    errors: Errors = {}
    for name, branch in [*(("together", branch) for branch in branches), ("alone", SMALL)]:
        evaluator = Evaluator(OUT / name / "model_ema.ckpt.pt", head=branch if name == "together" else None)
        for system in branches[branch]["validation_data"]["systems"]:
            errors[name, branch, system] = compare(evaluator, [HERE / system], frames)
    return errors


def report(errors: Errors) -> None:
    """Print the table."""
    table = Table(title="errors of energies (meV/atom) and forces (meV/Å)")
    for column in ("training", "branch", "validation data"):
        table.add_column(column, no_wrap=True)
    for column in ("energy MAE", "RMSE", "force MAE", "RMSE"):
        table.add_column(column, justify="right")
    for (name, branch, system), (energy, force, *_) in errors.items():
        values = [MILLI * value for quantity in (energy, force) for value in (quantity.mae, quantity.rmse)]
        table.add_row(name, branch, system, *(f"{value:.1f}" for value in values))
    console.print(table)


def draw(probability: float, path: Path) -> None:
    """Force error of the small branch over the steps that were its own."""
    figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
    for name, share in (("together", probability), ("alone", 1.0)):
        for curve in read(OUT / name / "lcurve.out"):
            if curve.label.startswith("force") and curve.branch in (SMALL, "") and (curve.steps > 1).any():
                style = {"lw": 2} if curve.validation else {"lw": 0.8, "alpha": 0.7}
                part = "validation" if curve.validation else "training batch"
                colour = {"together": "#0072B2", "alone": "#D55E00"}[name]
                axes.plot(curve.steps * share, curve.values, color=colour, label=f"{TITLES[name]}, {part}", **style)
                axes.set_ylabel(f"{SMALL}: {curve.label}")
    axes.set_yscale("log")
    axes.set_xlabel(f"steps of the branch {SMALL}")
    axes.legend(fontsize="small", frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Train twice, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--steps", type=int, help="of the training of all branches; default: those of pretrain.json")
    parser.add_argument("--seed", type=int, default=1, help="of weights and batches")
    parser.add_argument("--frames", type=int, help="validation frames of each branch; default: all")
    parser.add_argument("--output", type=Path, default=HERE / "pretraining.png", help="picture")
    arguments = parser.parse_args()
    config = json.loads((HERE / "pretrain.json").read_text())
    config["training"]["numb_steps"] = arguments.steps or config["training"]["numb_steps"]
    for section in (config["training"], *(config["model"]["shared_dict"][key] for key in ("descriptor", "fitting"))):
        section["seed"] = arguments.seed
    probabilities, branches = config["training"]["model_prob"], copy.deepcopy(config["training"]["data_dict"])
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    convert()
    train("alone", alone(config))
    train("together", config)
    report(evaluate(branches, arguments.frames))
    draw(probabilities[SMALL] / sum(probabilities.values()), arguments.output)


if __name__ == "__main__":
    main()
