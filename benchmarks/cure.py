"""Which training options keep a potential sound where there are no data, and what do they cost in accuracy?

Small networks are trained by `dp --pt train` under each measure alone and under several together: same data, seed,
batches and steps. The instruments of `dpa4 check` then look for holes, tails, extra minima, trimers of another order,
curvatures and hill climbs, both on validation frames and on structures that are generated without looking at the data,
and errors of energies and forces are those of the validation frames. Every row is kept when it is done; a second call
goes on where an interrupted one stopped.

Water comes from `examples/water`. Silicon (`mlearn/Si-training.xyz`, materialsvirtuallab/mlearn) and acetylacetone
(`acac/train_300K.xyz`, davkovacs/BOTNet-datasets) come from the folder `--data`, and are not part of this repository.
"""

import argparse
import contextlib
import json
import re
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compare import HERE
from cure_systems import SYSTEMS, prepare
from deepmd.main import main as dp
from rich.progress import track
from worker import machine

from deepmd_dpa4.files import write_text
from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.tools.check.choice import choose_pairs
from deepmd_dpa4.tools.check.curvature import Curvature
from deepmd_dpa4.tools.check.hill_climb import HillClimb
from deepmd_dpa4.tools.check.instrument import Context
from deepmd_dpa4.tools.check.pairs import PairSurvey
from deepmd_dpa4.tools.check.samples import data_samples, generated_samples
from deepmd_dpa4.tools.check.trimers import Trimers
from deepmd_dpa4.tools.plots.dimer import model_curve
from deepmd_dpa4.tools.plots.parity import compare
from deepmd_dpa4.tools.plots.style import picture
from deepmd_dpa4.tools.presets import recipe
from deepmd_dpa4.tools.presets.sizes import FIRST_GENERATION, FITTING, SIZES

Section = dict[str, Any]
START_LR = 3e-3
"""Higher than the published one, for short trainings."""
NETWORK = FIRST_GENERATION | {"s2_activation": [False, False], "channels": 16, "mixing_layers": 1, "sel": 60}
"""What makes the network smaller than the published Nano: no grids, a quarter of the weights of a layer."""
BASIS: Section = {"descriptor": {"basis_type": "bessel/fix"}, "model": {"radial_optimizer": "muon"}}
ENVELOPE: Section = {"descriptor": {"env_exp": 5}}
ROUTING: Section = {"model": {"radial_optimizer": "adamw"}}
ISOLATED: Section = {"fitting_net": {"vacuum_ref": True}}
BRIDGING: Section = {
    "model": {
        "bridging_method": "zbl",
        "bridging_unit": "contact",
        "bridging_r_inner": 0.5,
        "bridging_r_outer": 0.75,
        "bridging_end": "window",
    }
}


PAIRS, CURVATURE, HILL = PairSurvey(step=0.01), Curvature(count=24, atoms=600), HillClimb(count=6, atoms=100)
"""The instruments, with fewer structures than in `dpa4 check`."""
HEAD = """\
| measure | E, meV/atom | F, meV/Å | change | holes | deepest, eV | minima | tails | trimers | curvature | hill |
|---|---|---|---|---|---|---|---|---|---|---|"""
"""Of a table; curvature is against its ceiling, hill a factor, both near the data and far from them."""
COLUMNS = 4
"""Panels of the picture in a row."""
FAULTS = {"holes": ": hole", "extra minima": " minima, at", "tails": "in the tail", "tail forces": "two unit charges"}
"""How the findings of the pair survey are told apart."""


def joined(*measures: Section) -> Section:
    """Several measures together; the last one that names an option decides."""
    sections = ("descriptor", "fitting_net", "model")
    return {name: {key: value for part in measures for key, value in part.get(name, {}).items()} for name in sections}


FIXED = joined(BASIS, ENVELOPE, ROUTING)
MEASURES: Mapping[str, Section] = {
    "default": {},
    "fixed basis": BASIS,
    "one envelope": ENVELOPE,
    "AdamW": ROUTING,
    "isolated atoms": ISOLATED,
    "bridging": BRIDGING,
    "bridging to the cutoff": joined(BRIDGING, {"model": {"bridging_end": "cutoff"}}),
    "basis, envelope, AdamW": FIXED,
    "basis, envelope, AdamW, isolated atoms": joined(FIXED, ISOLATED),
    "basis, envelope, AdamW, bridging": joined(FIXED, BRIDGING),
    "all": joined(FIXED, ISOLATED, BRIDGING),
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder with mlearn/ and acac/")
    parser.add_argument("--folder", type=Path, default=Path("cure"), help="for trainings; default %(default)s")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--measures", nargs="+", choices=MEASURES, default=list(MEASURES), metavar="MEASURE")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1], help="default %(default)s")
    parser.add_argument("--steps", type=int, default=1000, help="of training; default %(default)s")
    parser.add_argument("--frames", type=int, help="train on so few frames; default: all")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results" / "cure.json")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw curves of pairs of what was trained")
    options = parser.parse_args(arguments)
    # compiling HybridMuon takes longer than these small matrices ever give back
    torch.compiler.set_stance("force_eager")
    record = read(options.output)
    wanted = [
        {"system": system, "measure": measure, "seed": seed, "steps": options.steps, "frames": options.frames}
        for seed in options.seeds
        for system in options.systems
        for measure in options.measures
    ]
    known = [{key: row[key] for key in wanted[0]} for row in record["rows"]]
    for what in track([what for what in wanted if what not in known], description="trainings"):
        row = what | measured(options, what)
        record = read(options.output)  # another call may have added rows
        record["rows"].append(row)
        write_text(options.output, json.dumps(record, indent=1) + "\n")
    print(page(record["rows"]))
    if options.picture:
        draw(options, wanted)


def read(output: Path) -> Section:
    """What an earlier call found."""
    if output.exists():
        found: Section = json.loads(output.read_text())
        return found
    output.parent.mkdir(parents=True, exist_ok=True)
    return {"question": (__doc__ or "").split("\n")[0], "machine": machine(), "network": NETWORK, "rows": []}


def measured(options: argparse.Namespace, what: Section) -> Section:
    """Train, unless that was done, and look."""
    train, valid = prepare(what["system"], options.data, options.folder / what["system"], what["frames"])
    folder = folder_of(options, what)
    start = time.process_time()
    if not (folder / "model.ckpt.pt").exists():
        folder.mkdir(parents=True, exist_ok=True)
        content = training_input(what, train.resolve())
        (folder / "input.json").write_text(json.dumps(content, indent=1))
        # a process of its own would load everything again
        with contextlib.chdir(folder):
            dp(["--pt", "train", "input.json", "--skip-neighbor-stat"])
    trained = time.process_time()
    found = look(folder / "model.ckpt.pt", valid)
    seconds = {"training": trained - start, "looking": time.process_time() - trained}
    return {"processor seconds": {key: round(value, 1) for key, value in seconds.items()}, **found}


def folder_of(options: argparse.Namespace, what: Section) -> Path:
    """Where a training is."""
    return Path(options.folder / re.sub(r"\W+", "_", " ".join(map(str, what.values()))))


def draw(options: argparse.Namespace, wanted: Sequence[Section]) -> None:
    """Draw the energies of pairs, a panel for each pair, a line for each measure."""
    panels = [(name, pair) for name in options.systems for pair in choose_pairs(list(SYSTEMS[name].isolated), 3)]
    rows = -(-len(panels) // COLUMNS)
    with picture(options.picture, min(COLUMNS, len(panels)), rows, size=(3.6, 3.0)) as grid:
        for axes, (name, pair) in zip(grid.flat, panels):
            for what in wanted:
                if what["system"] == name and what["seed"] == options.seeds[0]:
                    evaluator = Evaluator(folder_of(options, what) / "model.ckpt.pt")
                    curve = model_curve(evaluator, pair, np.arange(0.3, evaluator.rcut, 0.02))
                    axes.plot(curve.distance, curve.energy, label=what["measure"], linewidth=1.2)
            axes.set(title=f"{name}, {'-'.join(pair)}", xlabel="distance (Å)", ylabel="energy (eV)", yscale="symlog")
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_axis_off()
        grid.flat[0].legend(fontsize=7)


def training_input(what: Section, train: Path) -> Section:
    """Write an input like those of `dpa4 init nano`, for a smaller network and a short training."""
    system, measure, seed = SYSTEMS[what["system"]], MEASURES[what["measure"]], what["seed"]
    network = SIZES["nano"].descriptor() | NETWORK | {"rcut": system.rcut, "seed": seed}
    fitting = FITTING | {"seed": seed} | measure.get("fitting_net", {})
    preset = {"preset_out_bias": {"energy": list(system.isolated.values())}} if fitting.get("vacuum_ref") else {}
    warm_up = {"warmup_steps": max(1, what["steps"] // 20)}
    training = recipe.training(what["steps"], seed) | {"enable_ema": False, "save_freq": what["steps"]}
    return {
        "model": {
            "type": "dpa4",
            "type_map": list(system.isolated),
            "descriptor": network | measure.get("descriptor", {}),
            "fitting_net": fitting,
            **preset,
            **measure.get("model", {}),
        },
        "learning_rate": {"type": "cosine", "start_lr": START_LR, "stop_lr": 1e-6, **warm_up},
        "optimizer": recipe.optimizer(),
        "loss": recipe.loss(virial=False),
        "training": {"training_data": {"systems": [str(train)], "batch_size": system.batch}, **training},
    }


def look(model: Path, valid: Path) -> Section:
    """Run the instruments and compare with the labels."""
    evaluator = Evaluator(model)
    elements = evaluator.type_map
    pairs = choose_pairs(elements, 24)
    near = Context(elements, pairs, data_samples([valid], 100, evaluator))
    far = Context(elements, pairs, generated_samples(elements, pairs, seed=0))
    survey = PAIRS.run(evaluator, near)
    energy, force = compare(evaluator, [valid])[:2]
    return {
        "errors": numbers(
            {
                "energy RMSE (meV/atom)": 1000 * energy.rmse,
                "energy MAE (meV/atom)": 1000 * energy.mae,
                "force RMSE (meV/A)": 1000 * force.rmse,
                "force MAE (meV/A)": 1000 * force.mae,
            }
        ),
        "pairs": numbers(survey.numbers)
        | {name: sum(word in text for text in survey.found) for name, word in FAULTS.items()}
        | {"found": list(survey.found)},
        "trimers": numbers(Trimers().run(evaluator, near).numbers),
        "near": slopes(evaluator, near),
        "far": slopes(evaluator, far),
    }


def slopes(evaluator: Evaluator, context: Context) -> dict[str, float]:
    """Measure curvatures and climb hills on the structures of a context."""
    found = [CURVATURE.run(evaluator, context), HILL.run(evaluator, context)]
    return numbers({name: value for outcome in found for name, value in outcome.numbers.items()})


def numbers(found: Mapping[str, float]) -> dict[str, float]:
    """Numbers to four digits."""
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def page(rows: Sequence[Section]) -> str:
    """A table for each system in Markdown: means over seeds, and force errors against those of the default."""
    tables: dict[tuple[Any, ...], dict[str, list[Section]]] = {}
    for row in rows:
        table = tables.setdefault((row["system"], row["frames"], row["steps"]), {})
        table.setdefault(row["measure"], []).append(row)
    parts = []
    for (system, frames, steps), table in tables.items():
        default = Mean(table["default"])("errors", "force RMSE (meV/A)") if "default" in table else None
        lines = [cells(name, Mean(table[name]), default) for name in MEASURES if name in table]
        parts += [f"**{system}**, {steps} steps, {frames or 'all'} frames:", "\n".join([HEAD, *lines])]
    return "\n\n".join(parts)


def cells(measure: str, value: "Mean", default: float | None) -> str:
    """The line of a measure; ``default`` is the force error without it."""
    force = value("errors", "force RMSE (meV/A)")
    change = "" if default is None else f"{100 * (force / default - 1):+.0f} %"
    tails = value("pairs", "tails") + value("pairs", "tail forces")
    curvature, hill = (
        f"{value('near', name):.2g}, {value('far', name):.2g}"
        for name in ("largest share of the ceiling", "largest factor")
    )
    words = [measure, f"{value('errors', 'energy RMSE (meV/atom)'):.1f}", f"{force:.0f}", change]
    words += [f"{value('pairs', name):.2g}" for name in ("holes", "deepest hole (eV)", "extra minima")]
    words += [f"{tails:.2g}", f"{value('trimers', 'of another order'):.2g}", curvature, hill]
    return "| " + " | ".join(words) + " |"


class Mean:
    """Means of the numbers of some rows."""

    def __init__(self, rows: Sequence[Section]) -> None:
        self.rows = rows

    def __call__(self, section: str, name: str) -> float:
        return statistics.mean(row[section][name] for row in self.rows)


if __name__ == "__main__":
    main()
