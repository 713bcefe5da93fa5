"""``pair_style deepmd`` with the portable file equals Python."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.lammps import DYNAMICS, Box, assert_matches, orthogonal, run_lammps, triclinic, with_isolated_atom
from tests.support.predict import predict
from tests.support.runs import Run
from tests.support.toy import TYPES

BOXES = {"orthogonal": orthogonal, "triclinic": triclinic, "isolated": with_isolated_atom}


@pytest.mark.parametrize("name", BOXES)
@pytest.mark.parametrize("atom_map", [False, True], ids=["no-map", "map"])
def test_static_properties(trained: Run, name: str, atom_map: bool, tmp_path: Path) -> None:
    box = BOXES[name]()
    found = run_lammps(tmp_path, trained.frozen, box, atom_map)
    assert_matches(found, predict(trained.checkpoint, box.frames, box.types), box)


def test_types_may_be_swapped(trained: Run, tmp_path: Path) -> None:
    box = triclinic()
    swapped = replace(box, types=tuple(1 - t for t in box.types))
    found = run_lammps(tmp_path, trained.frozen, swapped, names="H O")
    assert_matches(found, predict(trained.checkpoint, box.frames), box)


@pytest.mark.parametrize("atom_map", [False, True], ids=["no-map", "map"])
def test_atoms_of_a_null_type_are_invisible(trained: Run, atom_map: bool, tmp_path: Path) -> None:
    """A wall, say: inside the cutoff of the others, in the middle of the atom order."""
    box = triclinic()
    coord = np.concatenate([box.coord[:2], [[2.0, 2.0, 1.0]], box.coord[2:]])
    mixed = Box(coord, box.cell, (*TYPES[:2], 2, *TYPES[2:]))
    found = run_lammps(tmp_path, trained.frozen, mixed, atom_map, names="O H NULL", kinds=3)
    assert np.all(found.atoms[2] == 0)
    real = replace(found, atoms=np.delete(found.atoms, 2, axis=0))
    assert_matches(real, predict(trained.checkpoint, box.frames), box)


def test_one_lonely_atom(trained: Run, tmp_path: Path) -> None:
    """No edge at all."""
    box = Box(np.array([[5.0, 5.0, 5.0]]), np.diag([20.0, 20.0, 20.0]), (1,))
    found = run_lammps(tmp_path, trained.frozen, box)
    assert np.abs(found.atoms[:, :3]).max() == 0
    assert np.isfinite(found.thermo["pe"]).all()


def test_energy_is_conserved_and_the_last_step_is_python_s(trained: Run, tmp_path: Path) -> None:
    box = orthogonal()
    found = run_lammps(tmp_path, trained.frozen, box, run=DYNAMICS)
    total, kinetic = found.thermo["etotal"], found.thermo["etotal"] - found.thermo["pe"]
    assert np.ptp(total) < 0.02 * max(np.ptp(kinetic), 1e-12)
