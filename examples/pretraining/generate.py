"""Generate the data sets of organic molecules: displaced molecules of the G2 set, GFN1-xTB and GFN2-xTB labels.

Run ``python generate.py`` to recreate the files in ``molecules`` next to this file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.collections import g2
from ase.io import write
from rich.progress import track
from tblite.ase import TBLite

HERE = Path(__file__).resolve().parent
ELEMENTS = frozenset("HCNO")
# Frames of each molecule: many of the method that water is labelled with, few of the other one.
FRAMES = {
    ("GFN1-xTB", "train"): 4,
    ("GFN1-xTB", "valid"): 1,
    ("GFN2-xTB", "train"): 1,
    ("GFN2-xTB", "valid"): 4,
}
# Closed-shell by its magnetic moments too, but GFN2-xTB has no reliable answer for a singlet carbene.
LEFT_OUT = "CH2_s1A1d"


def molecules() -> list[Atoms]:
    """Molecules of carbon, hydrogen and perhaps nitrogen and oxygen, without unpaired electrons, by name."""
    candidates = [g2[name] for name in sorted(g2.names) if name != LEFT_OUT]
    return [
        atoms
        for atoms in candidates
        if {"C", "H"} <= set(atoms.symbols) <= ELEMENTS and not atoms.get_initial_magnetic_moments().any()
    ]


def displaced(molecule: Atoms, deviation: float, method: str, rng: np.random.Generator) -> Atoms:
    """The molecule turned at random, with normally distributed displacements, labelled."""
    atoms = Atoms(molecule.symbols, positions=molecule.positions)
    atoms.positions += rng.normal(scale=deviation, size=atoms.positions.shape)
    atoms.euler_rotate(*rng.uniform(0, 360, 3), center="COM")
    # A fresh calculator keeps each label independent of the frames before it.
    atoms.calc = TBLite(method=method, accuracy=0.1, verbosity=0)
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    return atoms


def generate(method: str, part: str, frames: int, args: argparse.Namespace) -> None:
    """Generate a data set with `frames` frames of each molecule."""
    name = f"{method[:4].lower()}-{part}"
    # The name enters the seed so that no two sets share a structure.
    rng = np.random.default_rng([args.seed, *name.encode()])
    chosen = [molecule for molecule in molecules() for _ in range(frames)]
    labelled = [displaced(molecule, args.deviation, method, rng) for molecule in track(chosen, description=name)]
    args.output.mkdir(parents=True, exist_ok=True)
    write(args.output / f"{name}.xyz", labelled, format="extxyz")
    print(f"{name}: {len(labelled)} frames")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--output", type=Path, default=HERE / "molecules", help="output folder")
    parser.add_argument("--seed", type=int, default=2024, help="random seed")
    parser.add_argument("--deviation", type=float, default=0.05, help="of the displacements, Angstrom")
    return parser.parse_args()


def main() -> None:
    """Generate all data sets."""
    args = parse_arguments()
    for (method, part), frames in FRAMES.items():
        generate(method, part, frames, args)


if __name__ == "__main__":
    main()
