"""Do memory, open files and energy stay where they are in a long training and in long molecular dynamics?

A small network is trained on the water of `examples/water` in single precision; its weights run at constant energy in
single and in double precision, in LAMMPS, with steps of 0.5 fs. Memory and open files are read from the system at
regular intervals. The drift is the slope of a line through the total energy after the first tenth of the run. Linux.
"""

import argparse
import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import systems
from commands import needed
from compare import HERE, run_process
from watch import Sample, growth, watched
from worker import machine

TIMESTEP = 0.0005
"""ps."""
NETWORK = {"channels": 8, "lmax": 1, "n_blocks": 1, "mixing_layers": 1, "rcut": 3.5, "sel": 60, "seed": 1}
SCRIPT = """
units metal
atom_style atomic
boundary p p p
read_data {data}
pair_style deepmd {model}
pair_coeff * * O H
velocity all create 300 4711 mom yes
timestep {timestep}
fix 1 all nve
thermo {every}
thermo_style custom step temp etotal
thermo_modify format float %.8f flush yes
run {steps}
"""


def main(arguments: list[str] | None = None) -> None:
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("--training", type=int, default=20_000, help="steps of training; default %(default)s")
    command.add_argument("--dynamics", type=int, default=100_000, help="steps of dynamics; default %(default)s")
    command.add_argument("--precisions", nargs="+", default=["float32", "float64"], help="of dynamics; default both")
    command.add_argument("--interval", type=float, default=5.0, help="seconds between looks; default %(default)s")
    command.add_argument("--threads", type=int, default=1)
    command.add_argument("-o", "--output", type=Path, default=HERE / "results" / "soak.json")
    options = command.parse_args(arguments)
    record: dict[str, Any] = {
        "question": (__doc__ or "").split("\n")[0],
        "machine": machine() | {"threads": options.threads},
        "runs": {},
    }
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "CUDA_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        samples = train(folder, options.training, options.interval, environment)
        keep(record, options.output, "training", options.training, samples)
        for precision in options.precisions:
            model = freeze(folder, precision, environment)
            samples = simulate(folder, model, options.dynamics, options.interval, environment)
            keep(record, options.output, f"dynamics, {precision}", options.dynamics, samples, drift(folder / "lmp.out"))


def keep(
    record: dict[str, Any],
    output: Path,
    name: str,
    steps: int,
    samples: list[Sample],
    more: dict[str, float] | None = None,
) -> None:
    """Record, print and write what a run held."""
    found = {"steps": steps, "seconds": round(samples[-1].seconds, 1)} | growth(samples) | (more or {})
    print(f"{name}: {json.dumps(found)}", flush=True)
    record["runs"][name] = found | {"samples": [asdict(sample) for sample in samples]}
    output.write_text(json.dumps(record, indent=1) + "\n")


def write_input(folder: Path, name: str, steps: int, precision: str) -> str:
    """An input like `examples/water/demo.json` with a smaller network."""
    content = json.loads((systems.WATER / "demo.json").read_text())
    content["model"]["descriptor"] = NETWORK | {"precision": precision}
    content["model"]["fitting_net"]["precision"] = precision
    content["learning_rate"]["warmup_steps"] = min(50, steps // 4)
    training = content["training"]
    del training["validation_data"]
    training["training_data"]["systems"] = [str(systems.WATER / "data" / "train")]
    training |= {"numb_steps": steps, "disp_freq": 100, "save_freq": max(1, steps // 20)}
    training |= {"save_ckpt": f"{name}.ckpt", "disp_file": f"{name}.out"}
    (folder / f"{name}.json").write_text(json.dumps(content))
    return f"{name}.json"


def train(folder: Path, steps: int, interval: float, environment: dict[str, str]) -> list[Sample]:
    """Train in single precision; leaves ``float32.ckpt.pt``."""
    name = write_input(folder, "float32", steps, "float32")
    return watched([needed("dp"), "--pt", "train", name, "--skip-neighbor-stat"], folder, environment, interval)


def freeze(folder: Path, precision: str, environment: dict[str, str]) -> Path:
    """Freeze the trained weights; double precision takes them into a training of no steps."""
    if precision != "float32":
        name = write_input(folder, precision, 0, precision)
        words = ["train", name, "--init-model", "float32.ckpt.pt", "--skip-neighbor-stat"]
        run_process([needed("dp"), "--pt", *words], folder, environment)
    model = folder / f"{precision}.pth"
    words = ["freeze", f"{precision}.ckpt.pt", "--kernels", "native", "-o", model]
    run_process([needed("dpa4"), *words], folder, environment)
    return model


def simulate(folder: Path, model: Path, steps: int, interval: float, environment: dict[str, str]) -> list[Sample]:
    """Run LAMMPS at constant energy; leaves ``lmp.out``."""
    data = systems.WATER / "lmp" / "water.lmp"
    text = SCRIPT.format(data=data, model=model, steps=steps, every=max(1, steps // 2000), timestep=TIMESTEP)
    (folder / "in.lmp").write_text(text)
    return watched([needed("lmp"), "-in", "in.lmp", "-log", "none"], folder, environment, interval)


def drift(output: Path) -> dict[str, float]:
    """Drift of the total energy and scatter about the line, in meV per atom, and the mean temperature."""
    table = []
    for line in output.read_text().splitlines():
        words = line.split()
        if len(words) == 3 and words[0].isdigit() and "." in words[1]:
            table.append([float(word) for word in words])
    step, temperature, energy = np.array(table[len(table) // 10 :]).T
    energy = 1e3 * (energy - energy.mean()) / systems.CELL_ATOMS
    time = 1e-3 * TIMESTEP * step
    slope, offset = np.polyfit(time, energy, 1)
    return {
        "drift, meV/atom/ns": float(slope),
        "scatter, meV/atom": float(np.std(energy - slope * time - offset)),
        "temperature, K": float(temperature.mean()),
    }


if __name__ == "__main__":
    main()
