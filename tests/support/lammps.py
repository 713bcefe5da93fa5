"""Boxes that LAMMPS runs with one model, and what it prints."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.support.commands import BIN, lammps
from tests.support.predict import SINGLE, Prediction, difference
from tests.support.toy import TYPES, Frames

BAR = 1.602176634e6
"""One eV per cubic Angstrom."""


@dataclass(frozen=True)
class Box:
    """One frame with cell rows in the triangular form of LAMMPS; types from 0."""

    coord: np.ndarray
    cell: np.ndarray
    types: tuple[int, ...] = TYPES

    @property
    def frames(self) -> Frames:
        return Frames(self.coord[None], self.cell[None], np.zeros(1), np.zeros((1, 1, 3)), np.zeros((1, 9)))


def orthogonal() -> Box:
    """Twelve atoms, four molecules' worth of space, so that two ranks have work."""
    unit = triclinic().coord
    return Box(np.concatenate([unit, unit + [4.7, 0.1, -0.1]]), np.diag([9.5, 4.8, 4.8]), TYPES * 2)


def triclinic() -> Box:
    coord = np.array(
        [[0.1, 0.2, 0.3], [1.0, 0.35, 0.1], [0.2, 1.1, 0.45], [2.3, 2.2, 2.1], [3.1, 2.6, 1.8], [1.9, 3.0, 2.4]]
    )
    return Box(coord, np.array([[4.65, 0, 0], [0.3, 4.5, 0], [-0.2, 0.4, 4.35]]))


def with_isolated_atom() -> Box:
    """In a cell so large that images do not see each other and one atom sees nobody."""
    box = triclinic()
    return Box(np.concatenate([box.coord, [[14.0, 14.0, 14.0]]]), np.diag([25.0, 25.0, 25.0]), (*TYPES, 0))


def write_box(path: Path, box: Box, kinds: int = 2) -> None:
    (lx, _, _), (xy, ly, _), (xz, yz, lz) = box.cell
    lines = ["toy", "", f"{len(box.types)} atoms", f"{kinds} atom types", ""]
    lines += [f"0 {lx} xlo xhi", f"0 {ly} ylo yhi", f"0 {lz} zlo zhi"]
    if np.any(box.cell != np.diag(np.diag(box.cell))):
        lines.append(f"{xy} {xz} {yz} xy xz yz")
    lines += ["", "Atoms # atomic", ""]
    lines += [f"{i + 1} {t + 1} {x} {y} {z}" for i, (t, (x, y, z)) in enumerate(zip(box.types, box.coord, strict=True))]
    path.write_text("\n".join(lines) + "\n")


SCRIPT = """
units metal
atom_style atomic
{map}
boundary p p p
read_data box.data
mass * 1.0
pair_style deepmd {model}
pair_coeff * * {names}
compute pe all pe/atom
compute sum all reduce sum c_pe
compute stress all centroid/stress/atom NULL virial
compute total all reduce sum c_stress[1] c_stress[2] c_stress[3]
thermo_style custom step pe c_sum pxx pyy pzz pxy pxz pyz c_total[1] c_total[2] c_total[3] etotal
thermo_modify format float %.15g
{run}
write_dump all custom forces.dump id fx fy fz c_pe modify sort id format float %.15g
"""
DYNAMICS = "velocity all create 300 7\nfix 1 all nve\ntimestep 0.0002\nthermo 5\nrun 40"
COLUMNS = ["step", "pe", "sum", "pxx", "pyy", "pzz", "pxy", "pxz", "pyz", "sxx", "syy", "szz", "etotal"]


@dataclass(frozen=True)
class Output:
    """Thermodynamic rows, and columns fx, fy, fz, energy of every atom after the last step."""

    thermo: dict[str, np.ndarray]
    atoms: np.ndarray
    log: str


def run_lammps(
    folder: Path,
    model: Path,
    box: Box,
    atom_map: bool = False,
    names: str = "O H",
    kinds: int = 2,
    run: str = "run 0",
    ranks: int = 1,
    programs: Path = BIN,
) -> Output:
    folder.mkdir(parents=True, exist_ok=True)
    write_box(folder / "box.data", box, kinds)
    script = SCRIPT.format(map="atom_modify map yes" if atom_map else "", model=model, names=names, run=run)
    log = lammps(script, folder, ranks, programs)
    rows, inside = [], False
    for line in (folder / "log.lammps").read_text().splitlines():
        if inside and line.startswith("Loop time"):
            inside = False
        elif inside:
            rows.append([float(word) for word in line.split()])
        elif line.split()[:2] == ["Step", "PotEng"]:
            inside = True
    thermo = dict(zip(COLUMNS, np.array(rows).T, strict=True))
    dump = (folder / "forces.dump").read_text().split("ITEM: ATOMS")[1].splitlines()[1:]
    return Output(thermo, np.array([[float(word) for word in line.split()[1:]] for line in dump]), log)


def assert_matches(found: Output, expected: Prediction, box: Box, row: int = 0) -> None:
    thermo = {key: value[row] for key, value in found.thermo.items()}
    assert thermo["pe"] == pytest.approx(expected.energy[0, 0], rel=SINGLE)
    assert thermo["sum"] == pytest.approx(thermo["pe"], rel=1e-6)
    assert difference(found.atoms[:, :3], expected.force[0]) < SINGLE
    assert difference(found.atoms[:, 3], expected.atom_energy[0, :, 0]) < SINGLE
    virial = expected.virial[0].reshape(3, 3)
    pressure = 0.5 * (virial + virial.T) / abs(np.linalg.det(box.cell)) * BAR
    components = np.array([thermo[name] for name in ("pxx", "pyy", "pzz", "pxy", "pxz", "pyz")])
    wanted = pressure[(0, 1, 2, 0, 0, 1), (0, 1, 2, 1, 2, 2)]
    assert difference(components, wanted) < SINGLE
    sums = np.array([thermo["sxx"], thermo["syy"], thermo["szz"]])
    assert difference(-sums / abs(np.linalg.det(box.cell)), np.diag(pressure)) < SINGLE
