"""Write the structures that the simulations start from, ``start/Cu16Al16.N``, as files of VASP."""

from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.io import write

HERE = Path(__file__).resolve().parent
STRUCTURES = 3


def main() -> None:
    rng = np.random.default_rng(1)
    (HERE / "start").mkdir(exist_ok=True)
    for number in range(STRUCTURES):
        atoms = bulk("Cu", "fcc", a=3.83, cubic=True).repeat(2)
        atoms.symbols[rng.choice(len(atoms), len(atoms) // 2, replace=False)] = "Al"
        write(HERE / "start" / f"Cu16Al16.{number}", atoms, format="vasp", sort=True, vasp5=True)
    print(f"{STRUCTURES} structures in start")


if __name__ == "__main__":
    main()
