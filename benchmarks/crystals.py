"""Structures of the usual kinds, from perfect crystals to what strains a potential."""

from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111, molecule
from ase.spacegroup import crystal


def structures() -> dict[str, Atoms]:
    """Atoms by name: displaced crystals, molecules, an alloy, a perovskite, single atoms, far and near pairs."""
    found = {name: displaced(make()) for name, make in MAKERS.items()}
    found["Si"].set_cell(found["Si"].cell @ (np.eye(3) + SHEAR), scale_atoms=True)
    found["MgO skewed"].set_cell(found["MgO skewed"].cell @ (np.eye(3) + 3 * SHEAR), scale_atoms=True)
    return found | {
        "Al, one atom": bulk("Al"),
        "W, one atom": bulk("W"),
        "H, alone": Atoms("H"),
        "NaCl at 5.97 A": Atoms("NaCl", [[0, 0, 0], [0, 0, 5.97]]),
        "C4 chain": Atoms("C4", [[0, 0, 1.3 * k] for k in range(4)]),
        "Fe at 2.2 A": displaced(bulk("Fe", a=2.2 * 2 / np.sqrt(3), cubic=True)),
        "CO, O first, on Pt": upside_down(),
    }


SHEAR = np.array([[0.0, 0.02, 0.01], [0.0, 0.01, -0.02], [0.01, 0.0, -0.01]])


def water(edge: int = 4) -> Atoms:
    """Molecules on a cubic grid of some to an edge, turned at random."""
    rng = np.random.default_rng(4)
    box = Atoms(cell=[3.105 * edge] * 3, pbc=True)
    for place in np.ndindex(edge, edge, edge):
        one = molecule("H2O")
        one.rotate(float(rng.uniform(0, 360)), rng.normal(size=3))
        one.positions += 3.105 * np.array(place)
        box += one
    return box


def alloy() -> Atoms:
    """A face-centred cell of five metals in random order."""
    atoms = bulk("Ni", a=3.57, cubic=True) * (2, 2, 2)
    symbols = (["Cr", "Mn", "Fe", "Co", "Ni"] * 7)[: len(atoms)]
    atoms.symbols = np.random.default_rng(5).permutation(symbols)
    return atoms


def upside_down() -> Atoms:
    """Carbon monoxide pushed into a platinum surface with its oxygen: forces of hundreds of eV per Angstrom."""
    slab = fcc111("Pt", (2, 2, 3), vacuum=8.0)
    slab.pbc = True
    add_adsorbate(slab, Atoms("OC", [[0, 0, 0], [0, 0, 1.15]]), 0.8, "ontop")
    return slab


MAKERS: dict[str, Callable[[], Atoms]] = {
    "Si": lambda: bulk("Si", cubic=True),
    "Cu": lambda: bulk("Cu", cubic=True),
    "NaCl": lambda: bulk("NaCl", "rocksalt", a=5.64, cubic=True),
    "MgO skewed": lambda: bulk("MgO", "rocksalt", a=4.21) * (2, 2, 1),
    "SiO2": lambda: crystal(
        ["Si", "O"], [(0.47, 0, 0), (0.413, 0.267, 0.119)], spacegroup=154, cellpar=[4.91, 4.91, 5.40, 90, 90, 120]
    ),
    "TiO2": lambda: crystal(
        ["Ti", "O"], [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136, cellpar=[4.59, 4.59, 2.96, 90, 90, 90]
    ),
    "Fe54": lambda: bulk("Fe", cubic=True) * (3, 3, 3),
    "water": water,
    "ethanol": lambda: molecule("CH3CH2OH"),
    "C60": lambda: molecule("C60"),
    "LiCoO2": lambda: (
        crystal(
            ["Li", "Co", "O"],
            [(0, 0, 0.5), (0, 0, 0), (0, 0, 0.2605)],
            spacegroup=166,
            cellpar=[2.816, 2.816, 14.05, 90, 90, 120],
        )
        * (2, 2, 1)
    ),
    "CrMnFeCoNi": alloy,
    "CsPbI3": lambda: crystal(
        ["Cs", "Pb", "I"], [(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0)], spacegroup=221, cellpar=[6.29] * 3 + [90] * 3
    ),
    "UO2": lambda: bulk("UO2", "fluorite", a=5.47, cubic=True),
}


def displaced(atoms: Atoms) -> Atoms:
    """Move every atom by some hundredths of an Angstrom."""
    atoms.positions += np.random.default_rng(len(atoms)).normal(0, 0.04, (len(atoms), 3))
    return atoms
