"""Relax ordered Cu-Al cells with a trained model and with EMT, the method of the data, and compare them.

Run ``python relax.py`` after the training of ``input.json``; it writes ``relax.png``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.optimize import LBFGS

from deepmd_dpa4.engines.ase import DPA4Calculator

HERE = Path(__file__).resolve().parent
# Sites of the four-atom cube that hold aluminium: fcc metals, L1_2 and L1_0 alloys.
ORDERED = {"Cu": (), "Cu3Al": (0,), "CuAl": (0, 1), "CuAl3": (0, 1, 2), "Al": (0, 1, 2, 3)}


def ordered(aluminium: tuple[int, ...]) -> Atoms:
    """Cube of four sites, with a guess of the lattice constant and no symmetry to rely on."""
    atoms = bulk("Cu", "fcc", a=3.75, cubic=True)
    atoms.symbols[list(aluminium)] = "Al"
    atoms.rattle(0.05, seed=1)
    return atoms


def relax(atoms: Atoms, calculator: Calculator, fmax: float) -> Atoms:
    """Positions and cell at rest."""
    atoms = atoms.copy()
    atoms.calc = calculator
    optimizer = LBFGS(FrechetCellFilter(atoms), logfile=None)
    if not optimizer.run(fmax=fmax, steps=200):
        print(f"{atoms.symbols}: forces are still above {fmax} eV/A after 200 steps")
    return atoms


def lattice_constant(atoms: Atoms) -> float:
    """Edge of a cube of the same volume per atom, four atoms each, in Angstrom."""
    return (4 * atoms.get_volume() / len(atoms)) ** (1 / 3)


def draw(constants: dict[str, tuple[float, float]], path: Path) -> None:
    """Lattice constants of model and EMT."""
    figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
    fractions = [len(sites) / 4 for sites in ORDERED.values()]
    axes.plot(fractions, [emt for _, emt in constants.values()], "o", mfc="none", ms=10, label="EMT")
    axes.plot(fractions, [model for model, _ in constants.values()], "x", label="DPA4")
    axes.set_xticks(fractions, constants)
    axes.set_ylabel("lattice constant (A)")
    axes.legend()
    figure.savefig(path, dpi=150)


def main() -> None:
    """Relax every cell twice, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--model", type=Path, default=HERE / "model.ckpt.pt", help="checkpoint or frozen file")
    parser.add_argument("--output", type=Path, default=HERE / "relax.png", help="picture")
    parser.add_argument("--fmax", type=float, default=0.01, help="largest force at rest, eV/A")
    arguments = parser.parse_args()
    calculator = DPA4Calculator(arguments.model)
    constants = {}
    print("         a (A)          E (eV/atom)")
    print("        DPA4    EMT    DPA4    EMT")
    for name, aluminium in ORDERED.items():
        model, emt = (relax(ordered(aluminium), calc, arguments.fmax) for calc in (calculator, EMT()))
        constants[name] = lattice_constant(model), lattice_constant(emt)
        energies = [atoms.get_potential_energy() / 4 for atoms in (model, emt)]
        print(f"{name:6} {constants[name][0]:6.3f} {constants[name][1]:6.3f} {energies[0]:7.3f} {energies[1]:7.3f}")
    draw(constants, arguments.output)


if __name__ == "__main__":
    main()
