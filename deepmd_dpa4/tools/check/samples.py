"""Structures to test on: those of data sets, or crystals, melts and molecules made of the model's elements."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepmd_dpa4.config.elements import COVALENT_RADII, contact
from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.inference.structure import Structure
from deepmd_dpa4.tools.check.instrument import Pair, Sample
from deepmd_dpa4.tools.data.reader import sets, systems
from deepmd_dpa4.tools.plots.parity import batches

VOLUMES = ((1.0, 0.03), (0.7, 0.05), (1.4, 0.1))
"""Volumes of crystals against that at rest, and root mean square displacements along an axis, Angstrom."""
CRYSTALS, COMPOUNDS, MOLECULES, MELTS = 6, 4, 6, 4
"""Elements, pairs and molecules that structures are made of, and numbers of melts."""
CLOSEST = 0.8
"""Shortest distances in melts, in sums of covalent radii."""
MELT_ATOMS = 16


def data_samples(paths: Sequence[Path], count: int, evaluator: Evaluator) -> list[Sample]:
    """Read frames of DeePMD data, at most ``count``, evenly spaced.

    Raises
    ------
    DataError
        If there are no data, or files of wrong sizes.
    """
    parts = [part for system in systems(paths) for part in sets(system)]
    total = sum(map(len, parts))
    chosen = np.linspace(0, total - 1, min(count, total)).round().astype(int)
    return [
        Sample(str(frame.place), structure, frame.force)
        for batch in batches(parts, set(chosen.tolist()), evaluator)
        for frame, _, structure in batch
        if len(frame.symbols)
    ]


def generated_samples(
    elements: Sequence[str], pairs: Sequence[Pair], seed: int, charge_spin: Sequence[float] | None = None
) -> list[Sample]:
    """Make crystals of the elements and of pairs of them, molecules and melts.

    Parameters
    ----------
    elements : sequence of str
        The most important first.
    pairs : sequence of pairs of str
        Compounds are made of those of different atoms.
    seed : int
        Of displacements and of melts.
    charge_spin : sequence of float, optional
        Charge and spin multiplicity of all of them.
    """
    rng = np.random.default_rng(seed)
    made = [*crystals(elements, pairs, rng), *molecules(elements, rng), *melts(elements, rng)]
    return [
        Sample(name, Structure(symbols, positions, cell, charge_spin=charge_spin), calm=calm)
        for name, symbols, positions, cell, calm in made
    ]


Made = tuple[str, Sequence[str], np.ndarray, np.ndarray | None, bool]


def crystals(elements: Sequence[str], pairs: Sequence[Pair], rng: np.random.Generator) -> Iterator[Made]:
    """Yield crystals at rest, compressed and expanded, with displaced atoms."""
    cells = [(symbol, element_crystal(symbol)) for symbol in elements]
    solids = [(name, atoms) for name, atoms in cells if atoms is not None][:CRYSTALS]
    solids += [("-".join(pair), compound(pair)) for pair in pairs if pair[0] != pair[1]][:COMPOUNDS]
    for name, atoms in solids:
        repeat = int(np.ceil((8 / len(atoms)) ** (1 / 3)))
        atoms = atoms.repeat(repeat)
        for volume, shift in VOLUMES:
            length = volume ** (1 / 3)
            positions = atoms.positions * length + rng.normal(scale=shift, size=atoms.positions.shape)
            title = f"crystal of {name}, {volume:g} of its volume"
            yield title, atoms.get_chemical_symbols(), positions, atoms.cell.array * length, volume == 1.0


def element_crystal(symbol: str) -> Any:
    """Make the crystal of an element as ASE knows it; ``None`` if it is none of the simple ones."""
    from ase.build import bulk
    from ase.data import atomic_numbers, reference_states

    state = reference_states[atomic_numbers[symbol]]
    known = state is not None and state["symmetry"] in ("fcc", "bcc", "hcp", "diamond", "sc")
    return bulk(symbol) if known else None


def compound(pair: Pair) -> Any:
    """Make a crystal of rock salt of two elements whose atoms are 1.05 sums of covalent radii apart."""
    from ase.build import bulk

    return bulk("".join(pair), "rocksalt", a=2.1 * (contact(*pair) or 0.0), cubic=True)


def molecules(elements: Sequence[str], rng: np.random.Generator) -> Iterator[Made]:
    """Yield molecules of the G2 set that hold these elements alone, the smallest first, atoms a little displaced."""
    from ase.collections import g2

    known = [(name, g2[name]) for name in g2.names]
    fitting = [(name, atoms) for name, atoms in known if len(atoms) > 1 and set(atoms.symbols) <= set(elements)]
    for name, atoms in sorted(fitting, key=lambda item: (len(item[1]), item[0]))[:MOLECULES]:
        positions = atoms.positions + rng.normal(scale=0.03, size=atoms.positions.shape)
        yield f"molecule {name}", atoms.get_chemical_symbols(), positions, None, True


def melts(elements: Sequence[str], rng: np.random.Generator) -> Iterator[Made]:
    """Yield cells with atoms at random places, none closer than 0.8 sums of the covalent radii."""
    if not elements:
        return
    for number in range(MELTS):
        symbols = [elements[index % len(elements)] for index in range(number, number + MELT_ATOMS)]
        # spheres that fill two thirds of a cube each, and the space that bonds of light atoms leave
        volume = sum(0.65 * (2 * COVALENT_RADII[symbol]) ** 3 + 5.0 for symbol in symbols)
        edge = (volume * (1.0 if number % 2 else 1.5)) ** (1 / 3)
        positions = None
        while positions is None:
            positions = place(symbols, edge, rng)
            edge *= 1.03
        name = f"melt of {' '.join(dict.fromkeys(symbols))}, {number + 1}"
        yield name, symbols, positions, np.eye(3) * (edge / 1.03), False


def place(symbols: Sequence[str], edge: float, rng: np.random.Generator) -> np.ndarray | None:
    """Add atoms one after the other to a cube (edge in Angstrom); ``None`` if there is no place for one."""
    radii = np.array([COVALENT_RADII[symbol] for symbol in symbols])
    positions = np.empty((len(symbols), 3))
    for index in range(len(symbols)):
        trials = rng.uniform(0, edge, size=(2000, 1, 3))
        apart = trials - positions[None, :index]
        apart -= edge * np.round(apart / edge)
        limit = CLOSEST * (radii[:index] + radii[index])
        free = np.flatnonzero((np.linalg.norm(apart, axis=2) >= limit).all(axis=1))
        if not len(free):
            return None
        positions[index] = trials[free[0], 0]
    return positions
