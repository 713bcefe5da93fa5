"""How well does a model predict the thermal conductivity of binary crystals?

The 103 crystals of Pota, Ahlawat, Csanyi and Simoncelli (arXiv 2408.00755), by their protocol: FIRE with the symmetry
kept to 1e-4 eV/Angstrom, displacements of 0.03 Angstrom, forces in the supercells of second and third order, and
phono3py with the Wigner transport equation on the given mesh at 300 K. Needs phono3py. On two cores a rocksalt or
zincblende takes tens of minutes with DPA4-Neo, a wurtzite hours; `--materials` names some. What is finished is not
computed again.
"""

import argparse
import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter
from ase.io import read
from ase.optimize import FIRE
from ase.spacegroup.symmetrize import check_symmetry
from ledger import Ledger, Row, table

from deepmd_dpa4.tools.plots.style import COLOURS, equal_limits, picture

TEMPERATURE, DISTANCE = 300.0, 0.03
FORCE, STEPS, SYMPREC = 1e-4, 300, 1e-5
ACOUSTIC = -1e-2
"""Frequency in THz of an acoustic mode at Gamma below which it counts as imaginary."""
WORST = 2.0
"""Both errors of a crystal that is unstable or lost its symmetry."""

Forces = Callable[[Sequence[Atoms]], list[np.ndarray]]


@dataclass(frozen=True)
class Conductivity:
    """Conductivity of a crystal by modes."""

    total: float
    """Average over the directions, W/mK."""
    modes: np.ndarray
    """(q, band): parts of it times the number of points of the mesh; a q-point stands for all equivalent ones."""
    frequencies: np.ndarray
    """(q, band), THz, Gamma first."""

    @property
    def imaginary(self) -> bool:
        """Whether the crystal is unstable."""
        gamma, rest = self.frequencies[0], self.frequencies[1:]
        return bool((gamma[:3] < ACOUSTIC).any() or (gamma[3:] < 0).any() or (rest < 0).any())


def errors(model: Conductivity, reference: Conductivity, points: int) -> tuple[float, float]:
    r"""Compare two conductivities on a mesh of N points.

    .. math:: SRE = 2\frac{|\kappa - \kappa'|}{\kappa + \kappa'}, \quad
       SRME = 2\frac{\frac1N \sum_{q,s} |\kappa_{qs} - \kappa'_{qs}|}{\kappa + \kappa'}
    """
    both = model.total + reference.total
    difference = np.abs(model.modes - reference.modes).sum() / points
    return float(2 * abs(model.total - reference.total) / both), float(2 * difference / both)


def relax(atoms: Atoms) -> bool:
    """Relax cell and positions in place; tell whether the symmetry is what it was."""
    before = check_symmetry(atoms, SYMPREC).number
    atoms.set_constraint(FixSymmetry(atoms))
    FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=FORCE, steps=STEPS)
    atoms.set_constraint(None)
    return check_symmetry(atoms, SYMPREC).number == before


def conductivity(atoms: Atoms, settings: dict[str, Any], forces: Forces) -> Conductivity:
    """Compute the conductivity of a relaxed crystal.

    Parameters
    ----------
    atoms : Atoms
        Conventional cell.
    settings : dict
        ``fc2_supercell``, ``fc3_supercell``, ``primitive_matrix`` and ``q_mesh``.
    forces : callable
        Forces of structures, eV/Angstrom.
    """
    from phono3py import Phono3py
    from phonopy.structure.atoms import PhonopyAtoms

    unit = PhonopyAtoms(atoms.get_chemical_symbols(), cell=atoms.cell[:], scaled_positions=atoms.get_scaled_positions())
    work = Phono3py(
        unit,
        supercell_matrix=settings["fc3_supercell"],
        primitive_matrix=settings["primitive_matrix"],
        phonon_supercell_matrix=settings["fc2_supercell"],
        symprec=SYMPREC,
    )
    work.mesh_numbers = settings["q_mesh"]
    work.generate_displacements(distance=DISTANCE)
    work.generate_fc2_displacements(distance=DISTANCE)
    work.phonon_forces = np.array(forces([ase_atoms(cell) for cell in work.phonon_supercells_with_displacements]))
    work.produce_fc2()
    work.symmetrize_fc2()
    work.forces = np.array(forces([ase_atoms(cell) for cell in work.supercells_with_displacements]))
    work.produce_fc3()
    work.symmetrize_fc3()
    work.init_phph_interaction(symmetrize_fc3q=False)
    work.run_thermal_conductivity(
        temperatures=[TEMPERATURE], is_isotope=True, boundary_mfp=1e6, transport_type="SMM19", log_level=0
    )
    result = work.thermal_conductivity
    modes = result.mode_kappa_matrix[0, 0].sum(axis=2)[..., :3].mean(axis=-1)
    return Conductivity(modes.sum() / np.prod(work.mesh_numbers), modes, result.frequencies)


def ase_atoms(cell: Any) -> Atoms:
    """Turn a structure of phonopy into one of ASE."""
    return Atoms(cell.symbols, cell=cell.cell, scaled_positions=cell.scaled_positions, pbc=True)


def references(path: Path) -> dict[str, Conductivity]:
    """Read the conductivities by density-functional theory, by the names of :func:`name_of`."""
    with gzip.open(path, "rt") as file:
        columns = json.load(file)
    found = {}
    for index, name in columns["name"].items():
        modes = np.array(columns["mode_kappa_TOT_ave"][index])[0]
        frequencies = np.array(columns["frequencies"][index])
        number = columns["symm.no"][index]
        found[name_of(name, number)] = Conductivity(float(columns["kappa_TOT_ave"][index][0]), modes, frequencies)
    return found


def name_of(formula: str, number: int) -> str:
    """Name a crystal by formula and structure; some formulas occur twice."""
    return f"{formula}-{ {225: 'rocksalt', 216: 'zincblende', 186: 'wurtzite'}.get(int(number), number) }"


def row_of(atoms: Atoms, reference: Conductivity, forces: Forces) -> Row:
    """Relax a crystal, compute its conductivity, and compare."""
    points = int(np.prod(atoms.info["q_mesh"]))
    if not relax(atoms):
        return {"kappa_dft": reference.total, "SRE": WORST, "SRME": WORST, "reason": "the symmetry changed"}
    found = conductivity(atoms, atoms.info, forces)
    if found.imaginary:
        return {"kappa_dft": reference.total, "SRE": WORST, "SRME": WORST, "reason": "imaginary frequencies"}
    sre, srme = errors(found, reference, points)
    return {"kappa": float(found.total), "kappa_dft": reference.total, "SRE": sre, "SRME": srme, "reason": ""}


def draw(rows: dict[str, Row], path: Path) -> None:
    """Draw conductivities against those of density-functional theory."""
    there = [row for row in rows.values() if "kappa" in row]
    if there:
        reference, found = (np.log10([row[key] for row in there]) for key in ("kappa_dft", "kappa"))
        with picture(path, size=(4.6, 4.4)) as ((axes,),):
            axes.plot(reference, found, "o", color=COLOURS[0])
            equal_limits(axes, reference, found)
            axes.set(xlabel="log10 of κ by DFT (W/mK)", ylabel="log10 of κ by the model (W/mK)")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="checkpoint .pt, or frozen file .pth or .pt2")
    parser.add_argument("--head", help="branch of a multi-task checkpoint")
    parser.add_argument("--data", type=Path, required=True, help="folder kappa103")
    parser.add_argument("--materials", nargs="+", help="such as LiF-rocksalt; default: all 103")
    parser.add_argument("-o", "--output", type=Path, default=Path("conductivity"), help="results without suffix")
    options = parser.parse_args(arguments)
    from deepmd_dpa4.engines.ase import DPA4Calculator
    from deepmd_dpa4.inference.structure import Structure

    known = references(options.data / "kappas_phononDB_PBE_noNAC.json.gz")
    frames = read(options.data / "phononDB-PBE-structures.extxyz", ":")
    crystals = {name_of(atoms.info["name"], atoms.info["symm.no"]): atoms for atoms in frames}
    chosen = options.materials or list(crystals)
    unknown = [name for name in chosen if name not in crystals]
    if unknown:
        parser.error(f"`--materials` has {', '.join(unknown)} but must be of {', '.join(crystals)}")
    calculator = DPA4Calculator(options.model, head=options.head)

    def forces(structures: Sequence[Atoms]) -> list[np.ndarray]:
        found = []
        for atoms in structures:
            structure = Structure(atoms.get_chemical_symbols(), atoms.positions, atoms.cell[:])
            found += [prediction.forces for prediction in calculator.evaluator.evaluate([structure])]
        return found

    def compute(name: str) -> Row:
        atoms = crystals[name]
        atoms.calc = calculator
        return row_of(atoms, known[name], forces)

    rows = Ledger(options.output.with_suffix(".json"), {"model": options.model.name, "head": options.head}).fill(
        chosen, compute
    )
    means = {key: float(np.mean([row.get(key, WORST) for row in rows.values()])) for key in ("SRE", "SRME")}
    columns = {"kappa": "κ (W/mK)", "kappa_dft": "κ by DFT", "SRE": "SRE", "SRME": "SRME", "reason": "reason"}
    page = table(rows | {f"mean of {len(rows)}": means}, columns, "crystal")
    options.output.with_suffix(".md").write_text(page)
    draw(rows, options.output.with_suffix(".png"))
    print(page)


if __name__ == "__main__":
    main()
