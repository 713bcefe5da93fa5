"""Generate the liquid water data set: classical MD geometries, GFN1-xTB labels.

Run ``python generate.py`` to recreate ``data/train`` and ``data/valid`` next to this file.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dpdata
import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import CalculationFailed
from ase.io import read
from rich.progress import track
from tblite.ase import TBLite

HERE = Path(__file__).resolve().parent
MOLECULES = 32
EDGE_SCALES = (0.97, 1.03)
MAX_STRAIN = 0.03
MAX_SHEAR = 0.05
TIMESTEP_PS = 0.0005
LAMMPS_MAX_SEED = 900_000_000
MELT_TEMPERATURE = 600.0
# SPC/Fw has 1.012 angstrom and 113.24 degree. These values instead bring the mean GFN1-xTB
# force along the bonds and angles of the sampled molecules near zero; with the original ones
# every O-H bond would be about 0.06 angstrom too long for GFN1-xTB.
BOND_LENGTH = 0.955
BOND_ANGLE = 110.0


@dataclass(frozen=True)
class Trajectory:
    """One independent MD run: its lower triangular cell, temperature and random seed."""

    cell: np.ndarray
    temperature: float
    seed: int


def cubic_edge(density: float = 1.0) -> float:
    """Edge in angstrom of the cubic box that gives `density` in g/cm3."""
    mass_gram = MOLECULES * (15.9994 + 2 * 1.008) / units.mol
    return (mass_gram / density) ** (1 / 3) * 1e8


def strain_matrix(rng: np.random.Generator) -> np.ndarray:
    """Random lower triangular deformation of unit determinant."""
    deformation = np.diag(1 + rng.uniform(-MAX_STRAIN, MAX_STRAIN, 3))
    deformation[np.tril_indices(3, -1)] = rng.uniform(-MAX_SHEAR, MAX_SHEAR, 3)
    return deformation / np.linalg.det(deformation) ** (1 / 3)


def plan_trajectories(count: int, temperature: float, rng: np.random.Generator) -> Iterator[Trajectory]:
    """Spread `count` runs evenly over the box sizes; every second box is strained."""
    bounds = np.linspace(*EDGE_SCALES, count + 1)
    scales = rng.permutation(rng.uniform(bounds[:-1], bounds[1:]))
    for index, scale in enumerate(scales):
        deformation = strain_matrix(rng) if index % 2 else np.eye(3)
        yield Trajectory(
            cell=scale * cubic_edge() * deformation,
            temperature=temperature,
            seed=int(rng.integers(1, LAMMPS_MAX_SEED)),
        )


def sample(trajectory: Trajectory, frames: int, args: argparse.Namespace) -> list[Atoms]:
    """Run classical MD with LAMMPS and return `frames` snapshots."""
    cell = trajectory.cell
    stride = round(args.spacing / TIMESTEP_PS)
    with tempfile.TemporaryDirectory() as scratch:
        variables = {
            "lx": cell[0, 0],
            "ly": cell[1, 1],
            "lz": cell[2, 2],
            "xy": cell[1, 0],
            "xz": cell[2, 0],
            "yz": cell[2, 1],
            "temperature": trajectory.temperature,
            "melt_temperature": max(MELT_TEMPERATURE, trajectory.temperature),
            "seed": trajectory.seed,
            "timestep": TIMESTEP_PS * 1000,
            "melt_steps": round(args.melt / TIMESTEP_PS),
            "settle_steps": round(args.settle / TIMESTEP_PS),
            "stride": stride,
            "production_steps": stride * (frames - 1),
            "r0": BOND_LENGTH,
            "theta0": BOND_ANGLE,
            "molecule": HERE / "water.mol",
            "trajectory": "trajectory.dump",
        }
        command = [args.lmp, "-in", str(HERE / "md.in"), "-log", "none"]
        for name, value in variables.items():
            command += ["-var", name, str(value)]
        run = subprocess.run(command, check=False, cwd=scratch, capture_output=True, text=True)
        if run.returncode:
            raise RuntimeError(f"LAMMPS failed:\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
        snapshots = read(f"{scratch}/trajectory.dump", index=":", format="lammps-dump-text")
    return [periodic(atoms) for atoms in snapshots]


def periodic(atoms: Atoms) -> Atoms:
    """Bare copy of `atoms` with all its atoms inside the periodic cell."""
    if len(atoms) != 3 * MOLECULES:
        raise RuntimeError(f"expected {3 * MOLECULES} atoms, LAMMPS wrote {len(atoms)}")
    bare = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=True)
    bare.wrap()
    return bare


def label(atoms: Atoms) -> dpdata.LabeledSystem | None:
    """Label one frame with GFN1-xTB, or return None if the SCC does not converge."""
    # A fresh calculator keeps each label independent of the frames before it.
    atoms.calc = TBLite(method="GFN1-xTB", accuracy=0.1, verbosity=0)
    try:
        return dpdata.LabeledSystem(atoms, fmt="ase/structure", type_map=["O", "H"])
    except CalculationFailed:
        return None


def generate(name: str, count: int, args: argparse.Namespace) -> None:
    """Generate the data set `name` from `count` trajectories per temperature."""
    # The name enters the seed so that the two sets share no trajectory.
    rng = np.random.default_rng([args.seed, *name.encode()])
    plan = [item for t in args.temperatures for item in plan_trajectories(count, t, rng)]
    snapshots = [
        atoms
        for trajectory in track(plan, description=f"{name}: molecular dynamics")
        for atoms in sample(trajectory, args.frames, args)
    ]
    labelled = [label(atoms) for atoms in track(snapshots, description=f"{name}: GFN1-xTB")]
    kept = [frame for frame in labelled if frame is not None]
    system = kept[0]
    for frame in kept[1:]:
        system.append(frame)
    system.to("deepmd/npy", args.output / name, set_size=len(kept), prec=np.float64)
    print(f"{name}: {len(kept)} frames kept, {len(labelled) - len(kept)} not converged")


def find_lammps() -> str:
    """Path of the ``lmp`` next to the running Python, else of the one on the PATH."""
    beside = Path(sys.executable).with_name("lmp")
    return str(beside) if beside.exists() else shutil.which("lmp") or "lmp"


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--output", type=Path, default=HERE / "data", help="output folder")
    parser.add_argument("--lmp", default=find_lammps(), help="LAMMPS executable")
    parser.add_argument("--seed", type=int, default=2024, help="random seed")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[300, 400, 500, 600], help="in K")
    parser.add_argument("--train", type=int, default=8, help="training trajectories per temperature")
    parser.add_argument("--valid", type=int, default=2, help="validation trajectories per temperature")
    parser.add_argument("--frames", type=int, default=10, help="frames per trajectory")
    parser.add_argument("--spacing", type=float, default=2.0, help="ps between frames")
    parser.add_argument("--melt", type=float, default=5.0, help="ps spent melting the lattice")
    parser.add_argument("--settle", type=float, default=5.0, help="ps at the target temperature")
    return parser.parse_args()


def main() -> None:
    """Generate both data sets."""
    args = parse_arguments()
    for name, count in (("train", args.train), ("valid", args.valid)):
        generate(name, count, args)


if __name__ == "__main__":
    main()
