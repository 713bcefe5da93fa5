"""Boxes of atoms that LAMMPS runs one after the other with one model, on any number of ranks.

The pair style stays: loading a model and its first steps take longer than all that follows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.support.commands import lammps
from tests.support.lammps import Box, orthogonal, triclinic, write_box

THERMO = ("pe", "pxx", "pyy", "pzz", "pxy", "pxz", "pyz", "etotal")
STRESS = tuple(f"c_stress[{k}]" for k in range(1, 10))
WARM = "velocity all create 300 7"


@dataclass(frozen=True)
class Scene:
    """One box and what happens in it."""

    box: Box
    boundary: str = "p p p"
    motion: str = WARM
    """Commands that set the atoms in motion."""
    steps: int = 3
    names: str = "O H H"

    def script(self, name: str) -> str:
        """Commands; they write ``NAME.log`` and dumps of the first and of the last step."""
        (lx, _, _), (xy, ly, _), (xz, yz, lz) = self.box.cell
        shape = f"triclinic xy final {xy} xz final {xz} yz final {yz}" if (xy, xz, yz) != (0, 0, 0) else "ortho"
        write = f"write_dump all custom {name}.{{}}.dump id proc x y z fx fy fz c_energy {' '.join(STRESS)}"
        write += " modify sort id format float %.16g"
        return f"""
delete_atoms group all
change_box all boundary p p p triclinic xy final 0 xz final 0 yz final 0
change_box all x final 0 {lx} y final 0 {ly} z final 0 {lz}
change_box all {shape}
change_box all boundary {self.boundary}
read_data {name}.data add append
pair_coeff * * {self.names}
{self.motion}
reset_timestep 0
log {name}.log
run 0
{write.format("first")}
fix move all nve
run {self.steps}
{write.format("last")}
unfix move
"""


SESSION = """
units metal
atom_style atomic
{before}
boundary p p p
region start block 0 9 0 9 0 9
create_box 3 start
mass * 4.0
pair_style deepmd {model} {options}
pair_coeff * * O H H
compute energy all pe/atom
compute stress all centroid/stress/atom NULL virial
neigh_modify every 1 delay 0 check yes
timestep 0.0002
thermo_style custom step {thermo}
thermo_modify format float %.16g norm no
thermo 10
"""


def session(model: Path, before: str = "", options: str = "") -> str:
    """Commands before the first scene: ``before`` the box is created, ``options`` behind the model."""
    return SESSION.format(before=before, model=model, options=options, thermo=" ".join(THERMO))


@dataclass(frozen=True)
class Outcome:
    """Thermodynamic rows (steps, quantities), and the columns of the dumps of the first and of the last step."""

    thermo: np.ndarray
    first: dict[str, np.ndarray]
    last: dict[str, np.ndarray]
    log: str


def run_scenes(
    folder: Path, model: Path, scenes: Mapping[str, Scene], ranks: int = 1, before: str = "", options: str = ""
) -> dict[str, Outcome]:
    """Run scenes on several ranks."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, scene in scenes.items():
        write_box(folder / f"{name}.data", scene.box, 3)
    log = lammps(
        session(model, before, options) + "".join(scene.script(name) for name, scene in scenes.items()), folder, ranks
    )
    return {name: read_outcome(folder, name, log) for name in scenes}


def read_outcome(folder: Path, name: str, log: str) -> Outcome:
    rows, inside = [], False
    for line in (folder / f"{name}.log").read_text().splitlines():
        words = line.split()
        if words[:2] == ["Step", "PotEng"]:
            inside = True
        elif line.startswith("Loop time"):
            inside = False
        elif inside:
            rows.append([float(word) for word in words])
    first, last = (read_dump(folder / f"{name}.{which}.dump") for which in ("first", "last"))
    return Outcome(np.array(rows), first, last, log)


def read_dump(path: Path) -> dict[str, np.ndarray]:
    """Columns of a dump of one step."""
    columns, *lines = path.read_text().partition("ITEM: ATOMS ")[2].splitlines()
    values = np.array([[float(word) for word in line.split()] for line in lines])
    return dict(zip(columns.split(), values.T, strict=True))


def repeated(box: Box, copies: tuple[int, int, int]) -> Box:
    """The box next to itself."""
    shifts = np.array(list(np.ndindex(*copies))) @ box.cell
    coord = (shifts[:, None] + box.coord).reshape(-1, 3)
    return Box(coord, np.array(copies)[:, None] * box.cell, box.types * len(shifts))


def lone_pair() -> Box:
    """Two atoms in a cell shorter than the cutoff: each sees several images of itself."""
    return Box(np.array([[0.3, 0.2, 0.1], [1.9, 1.7, 2.0]]), np.diag([3.4, 3.5, 3.6]), (0, 1))


def droplet(origin: float, edge: float) -> Box:
    """Two molecules in vacuum."""
    return Box(triclinic().coord + origin, np.diag([edge, 20.0, 20.0]))


def slab() -> Box:
    """Periodic along x and y, vacuum on both sides along x."""
    box = orthogonal()
    return Box(box.coord + [20.0, 0.0, 0.0], np.diag([60.0, 4.8, 4.8]), box.types)


def with_wall() -> Box:
    """Atoms of a third type, which the model does not see, in between the others."""
    box, places = orthogonal(), [2, 5, 9]
    coord = np.insert(box.coord, places, [[2.0, 2.0, 1.0], [4.2, 0.5, 3.0], [7.0, 2.4, 0.5]], axis=0)
    return Box(coord, box.cell, tuple(np.insert(box.types, places, 2).tolist()))


HOT = "velocity all create 3000 7\nvelocity all set 800 -600 400 sum yes"
SCENES: dict[str, Scene] = {
    "liquid": Scene(repeated(orthogonal(), (2, 2, 1)), steps=100),
    "migrating": Scene(orthogonal(), motion=HOT, steps=50),
    "small": Scene(triclinic()),
    "below-cutoff": Scene(lone_pair()),
    "tilted": Scene(repeated(triclinic(), (2, 2, 2))),
    "wall": Scene(with_wall(), names="O H NULL"),
    "droplet": Scene(droplet(2.0, 60.0)),
    "edge": Scene(droplet(0.5, 14.0)),
    "slab": Scene(slab(), "f p p"),
    "open": Scene(droplet(1.0, 8.0), "f s f"),
}
"""Boxes with and without vacuum; along x, ``droplet`` and ``slab`` leave ranks empty, ``edge`` with ghosts alone."""
