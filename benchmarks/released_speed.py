"""How long does a released model take for energy and forces, and how much memory, through every door?

Takes checkpoints .pt of DPA4, as they were downloaded. Silicon of 64, 216 and 1,000 atoms and water of 81, 192 and
1,029, in single precision as in the file, in DeePMD-kit's Python interface, ASE and LAMMPS. The built-in DPA4 runs the
same checkpoint in the Python interface, which its ASE calculator calls too. Every measurement is a process of its own,
the sides take turns. With DPA4-Neo on one thread of a slow machine half an hour.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write
from commands import needed, seconds_per_step
from compare import BUILTIN, HERE, OURS, run_process
from worker import machine

SYSTEMS = {"silicon": (2, 3, 5), "water": (3, 4, 7)}
"""Copies of a cell of 8 atoms, and molecules, along each axis."""
DOORS = {"Python": (BUILTIN, OURS), "ASE": (OURS,), "LAMMPS, native": (OURS,), "LAMMPS, portable": (OURS,)}
"""What evaluates, and for which implementation."""
MOLECULE = 3.105
"""Edge of the cube of a water molecule, Angstrom."""
REPEATS, LARGE = 3, 500
"""Evaluations after the first, and the number of atoms from which on there is one fewer."""
SCRIPT = """
units metal
atom_style atomic
read_data {data}
pair_style deepmd {model}
pair_coeff * * {elements}
mass * 10.0
timestep 0.0001
fix 1 all nve
run 1
run {steps}
"""


def made(system: str, copies: int) -> Atoms:
    """Displaced atoms of a periodic system."""
    random = np.random.default_rng(1)
    if system == "silicon":
        atoms = bulk("Si", cubic=True) * (copies, copies, copies)
    else:
        atoms = Atoms(cell=3 * [copies * MOLECULE], pbc=True)
        for place in np.ndindex(copies, copies, copies):
            one = molecule("H2O")
            one.rotate(float(random.uniform(0, 360)), random.normal(size=3))
            one.positions += MOLECULE * np.array(place)
            atoms += one
    atoms.positions += random.normal(scale=0.02, size=atoms.positions.shape)
    return atoms


def evaluations(atoms: Atoms) -> int:
    """Evaluations that are timed."""
    return REPEATS - (len(atoms) > LARGE)


def in_python(door: str, file: Path, atoms: Atoms) -> float:
    """Seconds of an evaluation in this process, the median of some after the first."""
    if door == "ASE":
        from deepmd_dpa4.engines.ase import DPA4Calculator

        atoms.calc = DPA4Calculator(file)
        run = atoms.get_forces
    else:
        from deepmd.infer import DeepPot

        potential = DeepPot(str(file))
        names = potential.get_type_map()
        types = [names.index(symbol) for symbol in atoms.symbols]

        def run() -> Any:
            return potential.eval(atoms.positions[None], atoms.cell[:].reshape(1, 9), types)

    seconds = []
    for _ in range(1 + evaluations(atoms)):
        # a calculator keeps the results of atoms that have not moved
        atoms.positions[0, 0] += 1e-4
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def measure(door: str, side: str, files: dict[str, Path], system: str, copies: int) -> dict[str, Any]:
    """Run one door in a process of its own; seconds of an evaluation and its peak of memory."""
    environment = os.environ | {"DEEPMD_DPA4": "builtin" if side == BUILTIN else ""}
    atoms = made(system, copies)
    with tempfile.TemporaryDirectory() as name:
        if door.startswith("LAMMPS"):
            data, elements = Path(name, "box.data"), sorted(set(atoms.symbols))
            write(data, atoms, format="lammps-data", specorder=elements)
            text = SCRIPT.format(data=data, model=files[door], elements=" ".join(elements), steps=evaluations(atoms))
            Path(name, "in.lmp").write_text(text)
            done = run_process([needed("lmp"), "-in", "in.lmp", "-log", "none"], Path(name), environment)
            seconds = seconds_per_step(done.output)
        else:
            words = ["--measure", door, system, copies]
            done = run_process([sys.executable, __file__, files[door], *words], Path(name), environment)
            seconds = float(done.output.split()[-1])
    return {"door": door, "side": side, "system": system, "atoms": len(atoms), "seconds": seconds} | {
        "peak_mb": done.peak_mb
    }


def frozen(checkpoint: Path, folder: Path) -> dict[str, Path]:
    """Files by door."""
    files = {"Python": checkpoint, "ASE": checkpoint}
    for kernels, kind in (("native", "native"), ("plain", "portable")):
        files[f"LAMMPS, {kind}"] = folder / f"{kind}.pth"
        command = [needed("dpa4"), "freeze", checkpoint, "-o", files[f"LAMMPS, {kind}"], "--kernels", kernels]
        run_process(command, folder, dict(os.environ))
    return files


def page(record: dict[str, Any]) -> str:
    """Table of seconds and memory by system."""
    columns = [f"{door}, {side}" for door, sides in DOORS.items() for side in sides]
    about = ", ".join(f"{key} {value}" for key, value in record["machine"].items() if value is not None)
    lines = [
        "# Speed of released models",
        "",
        f"Written by `released_speed.py`. {about}. Seconds, and peak memory in GB.",
    ]
    for name, rows in record["files"].items():
        found = {(row["system"], row["atoms"], f"{row['door']}, {row['side']}"): row for row in rows}
        lines += ["", f"## {name}", "", f"| atoms | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
        for system, atoms in dict.fromkeys((row["system"], row["atoms"]) for row in rows):
            cells = [found.get((system, atoms, column)) for column in columns]
            texts = ["" if row is None else f"{row['seconds']:.3g}; {row['peak_mb'] / 1000:.2f}" for row in cells]
            lines.append(f"| {system}, {atoms:,} | {' | '.join(texts)} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="checkpoint .pt, as downloaded")
    parser.add_argument("--largest", type=int, default=1100, metavar="ATOMS", help="leave out larger systems")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results" / "released_speed.json")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        door, system, copies = options.measure
        print(in_python(door, options.files[0], made(system, int(copies))))
        return
    record: dict[str, Any] = {"question": __doc__, "machine": machine(), "files": {}}
    for file in options.files:
        rows = record["files"].setdefault(file.name, [])
        with tempfile.TemporaryDirectory() as name:
            files = frozen(file.resolve(), Path(name))
            for system, each in SYSTEMS.items():
                for copies in (n for n in each if len(made(system, n)) <= options.largest):
                    for door, sides in DOORS.items():
                        rows += [measure(door, side, files, system, copies) for side in sides]
                        print(rows[-1], flush=True)
                    options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
                    options.output.with_suffix(".md").write_text(page(record), encoding="utf-8")


if __name__ == "__main__":
    main()
