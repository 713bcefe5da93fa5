"""Relax random Cu-Al cells of two sizes, all at once, with torch-sim; compare them with EMT, the method of the data.

Run ``python relax.py`` after the training in ``../relax``; it writes ``torchsim.png``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch_sim as ts
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.optimize import LBFGS

from deepmd_dpa4.engines.torchsim import DPA4Model

HERE = Path(__file__).resolve().parent
REPEATS = ((2, 1, 1), (2, 2, 1))


def random_alloys(count: int, seed: int) -> list[Atoms]:
    """Cells of 8 and 16 atoms in turn, from pure copper to pure aluminium, on random sites."""
    rng = np.random.default_rng(seed)
    alloys = []
    for number, fraction in enumerate(np.linspace(0, 1, count)):
        atoms = bulk("Cu", "fcc", a=3.61 + 0.44 * fraction, cubic=True) * REPEATS[number % 2]
        aluminium = rng.choice(len(atoms), round(fraction * len(atoms)), replace=False)
        atoms.symbols[aluminium] = "Al"
        atoms.rattle(0.05, rng=rng)
        alloys.append(atoms)
    return alloys


def cell_relaxation() -> dict[str, Any]:
    """Arguments of ``optimize`` for FIRE with a free cell, which changed with version 0.4 of torch-sim."""
    if hasattr(ts, "Optimizer"):
        return {"optimizer": ts.Optimizer.fire, "init_kwargs": {"cell_filter": ts.CellFilter.frechet}}
    return {"optimizer": ts.frechet_cell_fire}


def relax_together(alloys: list[Atoms], model: Path, fmax: float, steps: int) -> list[Atoms]:
    """All cells in one batch, which those that are at rest leave."""
    at_rest = ts.generate_force_convergence_fn(force_tol=fmax, include_cell_forces=True)
    state = ts.optimize(alloys, DPA4Model(model), convergence_fn=at_rest, max_steps=steps, **cell_relaxation())
    return state.to_atoms()


def relax_emt(atoms: Atoms, fmax: float, steps: int) -> Atoms:
    """One cell with EMT and ASE."""
    atoms = atoms.copy()
    atoms.calc = EMT()
    LBFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=fmax, steps=steps)
    return atoms


def lattice_constant(atoms: Atoms) -> float:
    """Edge of a cube of the same volume per atom, four atoms each, in Angstrom."""
    return (4 * atoms.get_volume() / len(atoms)) ** (1 / 3)


def main() -> None:
    """Relax, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--model", type=Path, default=HERE.parent / "relax" / "model.ckpt.pt", help="model file")
    parser.add_argument("--output", type=Path, default=HERE / "torchsim.png", help="picture")
    parser.add_argument("--cells", type=int, default=9, help="number of cells")
    parser.add_argument("--steps", type=int, default=300, help="steps at most")
    parser.add_argument("--fmax", type=float, default=0.02, help="largest force at rest, eV/A")
    arguments = parser.parse_args()
    alloys = random_alloys(arguments.cells, seed=1)
    together = relax_together(alloys, arguments.model, arguments.fmax, arguments.steps)
    rows = []
    print("cell          a (A): DPA4    EMT")
    for before, after in zip(alloys, together):
        reference = relax_emt(before, arguments.fmax, arguments.steps)
        fraction = np.mean(before.symbols == "Al")
        rows.append((fraction, lattice_constant(after), lattice_constant(reference)))
        print(f"{before.get_chemical_formula():12}       {rows[-1][1]:6.3f} {rows[-1][2]:6.3f}")
    fractions, ours, emt = zip(*rows)
    figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
    axes.plot(fractions, emt, "o", mfc="none", ms=10, label="EMT")
    axes.plot(fractions, ours, "x", label="DPA4, one batch")
    axes.set_xlabel("fraction of aluminium")
    axes.set_ylabel("lattice constant (A)")
    axes.legend()
    figure.savefig(arguments.output, dpi=150)


if __name__ == "__main__":
    main()
