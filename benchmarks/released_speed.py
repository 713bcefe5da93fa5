"""How long does a released model take for energy and forces, and how much memory, through every door?

Takes checkpoints .pt of DPA4, as they were downloaded. Silicon of 64, 216 and 1,000 atoms and water of 81, 192 and
1,029, in single precision as in the file, in DeePMD-kit's Python interface, ASE and LAMMPS. The built-in DPA4 runs the
same checkpoint in the Python interface, which its ASE calculator calls too. Every measurement is a process of its own,
the sides take turns. With DPA4-Neo and `--largest 100` three and a half minutes on one thread of an AMD EPYC with AVX2.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import crystals
from ase import Atoms
from ase.build import bulk
from ase.io import write
from commands import needed, seconds_per_step
from compare import BUILTIN, HERE, OURS, run_process, running
from worker import described, machine

SYSTEMS = {"silicon": (2, 3, 5), "water": (3, 4, 7)}
"""Cells of 8 atoms, and molecules, to an edge."""
DOORS = {"Python": (BUILTIN, OURS), "ASE": (OURS,), "LAMMPS, native": (OURS,), "LAMMPS, portable": (OURS,)}
"""What evaluates, and for which implementation."""
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


def made(system: str, edge: int) -> Atoms:
    """Displaced atoms of a periodic system."""
    atoms = bulk("Si", cubic=True) * (edge, edge, edge) if system == "silicon" else crystals.water(edge)
    return crystals.displaced(atoms)


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


def measure(door: str, side: str, file: Path, atoms: Atoms, made_by: Sequence[str]) -> dict[str, Any]:
    """Run one door in a process of its own, where atoms are ``made_by`` again; seconds, and peak of memory."""
    environment = running(side)
    with tempfile.TemporaryDirectory() as name:
        if door.startswith("LAMMPS"):
            data, elements = Path(name, "box.data"), sorted(set(atoms.symbols))
            write(data, atoms, format="lammps-data", specorder=elements)
            text = SCRIPT.format(data=data, model=file, elements=" ".join(elements), steps=evaluations(atoms))
            Path(name, "in.lmp").write_text(text)
            done = run_process([needed("lmp"), "-in", "in.lmp", "-log", "none"], Path(name), environment)
            seconds = seconds_per_step(done.output)
        else:
            command = [sys.executable, __file__, file, "--measure", door, *made_by]
            done = run_process(command, Path(name), environment)
            seconds = float(done.output.split()[-1])
    return {"door": door, "side": side, "atoms": len(atoms), "seconds": seconds, "peak_mb": done.peak_mb}


def frozen(checkpoint: Path, folder: Path) -> dict[str, Path]:
    """Files by door."""
    files = {"Python": checkpoint, "ASE": checkpoint}
    for kernels, kind in (("native", "native"), ("plain", "portable")):
        files[f"LAMMPS, {kind}"] = folder / f"{kind}.pth"
        command = [needed("dpa4"), "freeze", checkpoint, "-o", files[f"LAMMPS, {kind}"], "--kernels", kernels]
        run_process(command, folder, running(OURS))
    return files


def page(record: dict[str, Any]) -> str:
    """Table of seconds and memory by system."""
    columns = [f"{door}, {side}" for door, sides in DOORS.items() for side in sides]
    about = f"Written by `released_speed.py`. {described(record['machine'])}. Seconds, and peak memory in GB."
    lines = ["# Speed of released models", "", about]
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
        door, system, edge = options.measure
        print(in_python(door, options.files[0], made(system, int(edge))))
        return
    record: dict[str, Any] = {"question": __doc__, "machine": machine(), "files": {}}
    for file in options.files:
        rows = record["files"].setdefault(file.name, [])
        with tempfile.TemporaryDirectory() as name:
            files = frozen(file.resolve(), Path(name))
            for system, edge in ((name, edge) for name, edges in SYSTEMS.items() for edge in edges):
                atoms = made(system, edge)
                if len(atoms) > options.largest:
                    continue
                for door, side in ((door, side) for door, sides in DOORS.items() for side in sides):
                    row = measure(door, side, files[door], atoms, (system, str(edge)))
                    rows.append({"system": system} | row)
                    print(rows[-1], flush=True)
                options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
                options.output.with_suffix(".md").write_text(page(record), encoding="utf-8")


if __name__ == "__main__":
    main()
