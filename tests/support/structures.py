"""Labelled ASE structures: small Cu-Al crystals of several volumes, labelled by EMT."""

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator


def crystals(count: int = 6, seed: int = 0, strain: float = 0.03) -> list[Atoms]:
    """Frames of one composition whose atoms come in various orders."""
    rng = np.random.default_rng(seed)
    return [crystal(rng, strain) for _ in range(count)]


def crystal(rng: np.random.Generator, strain: float) -> Atoms:
    atoms = bulk("Cu", "fcc", a=3.7, cubic=True)
    atoms.symbols[rng.permutation(4)[:2]] = "Al"
    atoms.set_cell(atoms.cell @ (np.eye(3) * (1 + strain * rng.normal())), scale_atoms=True)
    atoms.rattle(0.05, rng=rng)
    atoms.calc = EMT()
    results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress()}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def water(energy: float = -10.0) -> Atoms:
    """A molecule without a cell, with forces."""
    atoms = molecule("H2O")
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.arange(9.0).reshape(3, 3) / 10)
    return atoms


def renamed(atoms: Atoms, **names: str) -> Atoms:
    """The results under other names, where a reader has no meaning for them: forces as array, the others as info."""
    bare = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    for name, new in names.items():
        value = atoms.calc.results[name]
        if name == "forces":
            bare.arrays[new] = value
        else:
            bare.info[new] = value
    return bare


def virial(atoms: Atoms) -> np.ndarray:
    """Virial (3, 3) in eV of the stress of ASE."""
    return -atoms.get_volume() * atoms.get_stress(voigt=False)
