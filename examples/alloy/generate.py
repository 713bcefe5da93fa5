"""Generate the Cu-Al alloy data set: short EMT molecular dynamics of strained fcc cells.

Run ``python generate.py`` to recreate ``data/train`` and ``data/valid`` next to this file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import dpdata
import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixCom
from ase.md.langevin import Langevin
from rich.progress import track

HERE = Path(__file__).resolve().parent
SITES = 32
LATTICE_CONSTANTS = {"Cu": 3.61, "Al": 4.05}
TEMPERATURES = (100.0, 1200.0)
MAX_STRAIN = 0.04
TIMESTEP = 4 * units.fs
# Strong enough to bring a crystal at rest to the target temperature within a fraction of a ps.
FRICTION = 0.02 / units.fs
# (Cu atoms, Al atoms); fewer than SITES atoms means vacancies.
COMPOSITIONS = (
    (32, 0),
    (24, 8),
    (16, 16),
    (8, 24),
    (0, 32),
    (31, 0),
    (15, 16),
    (0, 31),
)


def random_alloy(copper: int, aluminium: int, rng: np.random.Generator) -> Atoms:
    """Strained fcc cell with the atoms and vacancies on random sites, copper first."""
    fraction = aluminium / (copper + aluminium)
    constant = (1 - fraction) * LATTICE_CONSTANTS["Cu"] + fraction * LATTICE_CONSTANTS["Al"]
    lattice = bulk("Cu", "fcc", a=constant, cubic=True).repeat(2)
    sites = rng.choice(SITES, size=copper + aluminium, replace=False)
    atoms = Atoms(
        formula(copper, aluminium),
        positions=lattice.positions[sites],
        cell=lattice.cell,
        pbc=True,
    )
    # A lower triangular deformation reaches every cell shape without rotating the cell.
    deformation = np.eye(3) + np.tril(rng.uniform(-MAX_STRAIN, MAX_STRAIN, (3, 3)))
    atoms.set_cell(atoms.cell @ deformation, scale_atoms=True)
    return atoms


def thermalise(atoms: Atoms, temperature: float, steps: int, rng: np.random.Generator) -> None:
    """Displace the atoms by a short Langevin run at `temperature`."""
    atoms.set_constraint(FixCom())
    dynamics = Langevin(atoms, TIMESTEP, temperature_K=temperature, friction=FRICTION, fixcm=False, rng=rng)
    dynamics.run(steps)
    atoms.set_constraint()
    atoms.wrap()


def formula(copper: int, aluminium: int) -> str:
    """Chemical formula without the elements that are absent."""
    counts = {"Cu": copper, "Al": aluminium}
    return "".join(f"{symbol}{count}" for symbol, count in counts.items() if count)


def make_frame(composition: tuple[int, int], steps: int, rng: np.random.Generator) -> dpdata.LabeledSystem:
    """Make one labelled frame, independent of every other one."""
    atoms = random_alloy(*composition, rng)
    atoms.calc = EMT()
    thermalise(atoms, rng.uniform(*TEMPERATURES), steps, rng)
    return dpdata.LabeledSystem(atoms, fmt="ase/structure", type_map=["Cu", "Al"])


def generate(name: str, frames: int, args: argparse.Namespace) -> None:
    """Generate the data set `name` with `frames` frames per composition."""
    rng = np.random.default_rng([args.seed, *name.encode()])
    for copper, aluminium in track(COMPOSITIONS, description=name):
        system = make_frame((copper, aluminium), args.steps, rng)
        for _ in range(frames - 1):
            system.append(make_frame((copper, aluminium), args.steps, rng))
        folder = args.output / name / formula(copper, aluminium)
        system.to("deepmd/npy", folder, set_size=frames, prec=np.float64)
    print(f"{name}: {len(COMPOSITIONS)} systems of {frames} frames")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--output", type=Path, default=HERE / "data", help="output folder")
    parser.add_argument("--seed", type=int, default=2024, help="random seed")
    parser.add_argument("--train", type=int, default=26, help="training frames per composition")
    parser.add_argument("--valid", type=int, default=7, help="validation frames per composition")
    parser.add_argument("--steps", type=int, default=200, help="MD steps before each frame")
    return parser.parse_args()


def main() -> None:
    """Generate both data sets."""
    args = parse_arguments()
    generate("train", args.train, args)
    generate("valid", args.valid, args)


if __name__ == "__main__":
    main()
