"""Do uncertainties from one model rise off the training data and rank errors, beside those of a committee?

Takes a folder with `train_300K.xyz` and `test_MD_300K.xyz` of the acetylacetone data of BOTNet-datasets (davkovacs on
GitHub), which are not part of this repository. Every tenth training frame validates. With `test_MD_600K.xyz` beside
them the labels in the files are used. Without it all frames are labelled by GFN2-xTB (tblite), and those at 600 K come
from molecular dynamics with it: other labels than the published ones, but of one method at both temperatures.

Four networks that differ in their seeds are trained by `dp --pt train`. The first one gets uncertainties by
`dpa4 uncertainty`; the spread of the four, scaled on the same validation frames, is the committee's. Each
network takes about four minutes of processor time; `--members 1` leaves the committee out.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin
from compare import HERE, beside_python
from rich.progress import track
from scipy.stats import spearmanr
from worker import machine

from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.inference.structure import Prediction, Structure
from deepmd_dpa4.tools.plots.style import COLOURS, REFERENCE, picture

TYPES = ["H", "C", "O"]
TEMPERATURES = (300, 600)
HOT = "test_MD_600K.xyz"
NETWORK = {"type": "dpa4", "channels": 16, "lmax": 2, "n_blocks": 2, "n_radial": 8, "rcut": 5.0, "sel": 20}
TIMESTEP, FRICTION, EQUILIBRATION, INTERVAL = 0.5, 0.02, 1000, 10
"""Of the molecular dynamics: fs, 1/fs, steps, and steps between frames."""


@dataclass(frozen=True)
class Row:
    """What one kind of uncertainty says about the energies of one test set; meV of a molecule."""

    uncertainty: str
    frames: str
    count: int
    error: float
    """Root of the mean squared error."""
    mean: float
    """Mean uncertainty."""
    spread: float
    """Root of the mean squared ratio of error and uncertainty; 1 is calibrated."""
    rank: float
    """Rank correlation (Spearman) of uncertainty and absolute error."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA", help="folder with the files .xyz")
    parser.add_argument(
        "--folder", type=Path, default=Path("uncertainty"), help="for data and models; default %(default)s"
    )
    parser.add_argument("--steps", type=int, default=2000, help="training steps of a network; default %(default)s")
    parser.add_argument("--members", type=int, default=4, help="networks, 1 = no committee; default %(default)s")
    parser.add_argument("--frames", type=int, default=200, help="at most so many test frames; default %(default)s")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results" / "uncertainty.json")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    published = (options.data / HOT).exists()
    frames = read(options.data, options.folder, options.frames, published)
    seconds: dict[str, float] = {}
    for name, given in frames.items():
        write_system(options.folder / "data" / name, given)
    seeds = range(1, options.members + 1)
    for seed in seeds:
        seconds[f"training {seed}"] = train(options.folder, seed, options.steps)
    model = options.folder / "seed1" / "uncertain.pt"
    words = ["uncertainty", "model.ckpt.pt", "../data/train", "--validation", "../data/valid", "-o", model.name]
    seconds["dpa4 uncertainty"] = run("dpa4", words, model.parent)
    rows, table = judge(options.folder, model, frames, seeds)
    record: dict[str, Any] = {
        "question": __doc__,
        "machine": machine(),
        "labels": "of the files" if published else "GFN2-xTB",
        "settings": {"network": NETWORK, "steps": options.steps, "frames": {k: len(v) for k, v in frames.items()}},
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "rows": [asdict(row) for row in rows],
    }
    options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    draw(table, options.output.with_suffix(".png"))
    print(page(rows))


def read(data: Path, folder: Path, most: int, published: bool) -> dict[str, list[Atoms]]:
    """Labelled frames by the name of their set; those that took computing are kept in the folder."""
    train = ase.io.read(data / "train_300K.xyz", ":")
    test = ase.io.read(data / "test_MD_300K.xyz", ":")
    chosen = {
        "train": [atoms for number, atoms in enumerate(train) if number % 10],
        "valid": train[::10],
        "300K": [test[int(number)] for number in np.linspace(0, len(test) - 1, min(most, len(test)))],
    }
    if published:
        hot = ase.io.read(data / HOT, ":")
        return chosen | {"600K": [hot[int(n)] for n in np.linspace(0, len(hot) - 1, min(most, len(hot)))]}
    found = {}
    for name in (*chosen, "600K"):
        file = folder / f"{name}.xyz"
        if not file.exists():
            given = chosen[name] if name in chosen else heated(train[0], most)
            ase.io.write(file, [labelled(atoms) for atoms in track(given, description=f"labels, {name}")])
        found[name] = ase.io.read(file, ":")
    return found


def labelled(atoms: Atoms) -> Atoms:
    """A molecule with energy and forces by GFN2-xTB."""
    from tblite.ase import TBLite

    copy = Atoms(atoms.symbols, atoms.positions)
    copy.calc = TBLite(method="GFN2-xTB", verbosity=0)
    copy.get_forces()
    return copy


def heated(start: Atoms, count: int, temperature: float = 600.0) -> list[Atoms]:
    """Frames of molecular dynamics with GFN2-xTB."""
    from tblite.ase import TBLite

    atoms = Atoms(start.symbols, start.positions)
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    rng = np.random.default_rng(0)
    options = {"temperature_K": temperature, "friction": FRICTION / units.fs}
    motion = Langevin(atoms, TIMESTEP * units.fs, fixcm=False, rng=rng, **options)
    motion.run(EQUILIBRATION)
    frames = []
    for _ in track(range(count), description=f"dynamics at {temperature:g} K"):
        motion.run(INTERVAL)
        frames.append(Atoms(atoms.symbols, atoms.positions))
    return frames


def write_system(folder: Path, frames: list[Atoms]) -> None:
    """Frames of one molecule as DeePMD data."""
    part = folder / "set.000"
    part.mkdir(parents=True, exist_ok=True)
    np.save(part / "coord.npy", np.stack([atoms.positions.ravel() for atoms in frames]))
    np.save(part / "energy.npy", np.array([atoms.get_potential_energy() for atoms in frames]))
    np.save(part / "force.npy", np.stack([atoms.get_forces().ravel() for atoms in frames]))
    (folder / "nopbc").touch()
    (folder / "type_map.raw").write_text("\n".join(TYPES) + "\n")
    (folder / "type.raw").write_text("\n".join(str(TYPES.index(symbol)) for symbol in frames[0].symbols) + "\n")


def train(folder: Path, seed: int, steps: int) -> float:
    """Train a network unless it is there; returns the seconds."""
    member = folder / f"seed{seed}"
    member.mkdir(exist_ok=True)
    times = member / "seconds"
    if not times.exists():
        content = {
            "model": {
                "type": "dpa4",
                "type_map": TYPES,
                "descriptor": NETWORK | {"seed": seed},
                "fitting_net": {"seed": seed},
            },
            "learning_rate": {"type": "cosine", "start_lr": 3e-3, "stop_lr": 1e-6},
            "loss": {
                "type": "ener",
                "start_pref_e": 1,
                "limit_pref_e": 10,
                "start_pref_f": 10,
                "limit_pref_f": 10,
            },
            "training": {
                "training_data": {"systems": ["../data/train"], "batch_size": 5},
                "numb_steps": steps,
                "disp_freq": max(steps // 10, 1),
                "save_freq": steps,
                "seed": seed,
            },
        }
        (member / "input.json").write_text(json.dumps(content, indent=1))
        times.write_text(str(run("dp", ["--pt", "train", "input.json", "--skip-neighbor-stat"], member)))
    return float(times.read_text())


def run(program: str, words: list[str], folder: Path) -> float:
    """Run a command that is installed with this Python, with its output in ``log``; returns the seconds."""
    start = time.perf_counter()
    with (folder / "log").open("a") as log:
        command = [str(beside_python(program) or sys.exit(f"{program} is not installed")), *words]
        subprocess.run(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, check=True)
    return time.perf_counter() - start


def judge(
    folder: Path, model: Path, frames: dict[str, list[Atoms]], seeds: Sequence[int]
) -> tuple[list[Row], dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]]:
    """Errors and uncertainties of the test sets, one by one and together."""
    sets = ("valid", "300K", "600K")
    reference = {name: np.array([atoms.get_potential_energy() for atoms in frames[name]]) for name in sets}
    members = [Evaluator(model), *(Evaluator(folder / f"seed{seed}" / "model.ckpt.pt") for seed in seeds[1:])]
    found = {name: [predict(member, frames[name]) for member in members] for name in sets}
    table: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {"last layer": {}}
    committee: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name in sets:
        energies = np.array([[one.energy for one in predictions] for predictions in found[name]])
        rigid = np.array([one.energy_uncertainty for one in found[name][0]])
        table["last layer"][name] = energies[0] - reference[name], rigid
        if len(members) > 1:
            committee[name] = energies.mean(axis=0) - reference[name], energies.std(axis=0, ddof=1)
    if committee:
        errors, spread = committee["valid"]
        scale = float(np.sqrt(np.mean((errors / spread) ** 2)))
        table["committee"] = {name: (errors, scale * spread) for name, (errors, spread) in committee.items()}
    rows = []
    for kind, values in table.items():
        both = tuple(np.concatenate([values[f"{t}K"][part] for t in TEMPERATURES]) for part in (0, 1))
        named = {f"{t} K": values[f"{t}K"] for t in TEMPERATURES} | {"both": both}
        rows += [row(kind, name, *pair) for name, pair in named.items()]
    return rows, table


def predict(member: Evaluator, frames: list[Atoms]) -> list[Prediction]:
    return member.evaluate([Structure(atoms.get_chemical_symbols(), atoms.positions) for atoms in frames])


def row(kind: str, frames: str, errors: np.ndarray, deviations: np.ndarray) -> Row:
    """The numbers of a test set."""
    return Row(
        kind,
        frames,
        len(errors),
        round(1000 * float(np.sqrt(np.mean(errors**2))), 2),
        round(1000 * float(np.mean(deviations)), 2),
        round(float(np.sqrt(np.mean((errors / deviations) ** 2))), 3),
        round(float(spearmanr(deviations, np.abs(errors)).statistic), 3),
    )


def page(rows: list[Row]) -> str:
    """The table in Markdown."""
    lines = [
        "| uncertainty | frames | error, RMS (meV) | mean uncertainty (meV) | error over uncertainty, RMS | Spearman |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.uncertainty} | {row.frames} | {row.error:.1f} | {row.mean:.1f} | {row.spread:.2f} | {row.rank:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def draw(table: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]], output: Path) -> None:
    """Absolute errors over uncertainties, one panel for each kind."""
    with picture(output, len(table), size=(4.4, 3.8)) as grid:
        for axes, (kind, values) in zip(grid.flat, table.items()):
            for temperature, colour in zip(TEMPERATURES, COLOURS):
                errors, deviations = (1000 * part for part in values[f"{temperature}K"])
                axes.loglog(deviations, np.abs(errors), ".", color=colour, ms=4, label=f"{temperature} K")
            line = np.array(axes.get_xlim())
            axes.loglog(line, line, color=REFERENCE, lw=1)
            axes.set(title=kind, xlabel="uncertainty of the energy (meV)", ylabel="absolute error (meV)")
            axes.legend(frameon=False)


if __name__ == "__main__":
    main()
