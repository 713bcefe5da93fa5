"""VASP's outputs: the energy of the forces, and the sign and unit of the stress, are those of dpdata."""

from pathlib import Path

import dpdata
import numpy as np
import pytest
from ase import Atoms

from deepmd_dpa4.cli import main
from deepmd_dpa4.tools.data.reader import frames_at
from tests.support import vasp
from tests.support.structures import crystals, virial

FRAMES = [atoms[np.argsort(atoms.numbers, kind="stable")] for atoms in crystals(3)]
for sorted_frame, original in zip(FRAMES, crystals(3)):
    order = np.argsort(original.numbers, kind="stable")
    sorted_frame.calc = original.calc
    sorted_frame.calc.results["forces"] = original.calc.results["forces"][order]
    sorted_frame.calc.atoms = sorted_frame.copy()


def convert(name: str, text: str, folder: Path) -> list:
    (folder / name).write_text(text)
    assert main(["data", "convert", str(folder / name), "-o", str(folder / "out")]) == 0
    return list(frames_at([folder / "out"]))


def check(frames: list, expected: list[Atoms]) -> None:
    assert len(frames) == len(expected)
    for frame, atoms in zip(frames, expected):
        np.testing.assert_allclose(frame.energy, atoms.get_potential_energy(), atol=1e-6)
        np.testing.assert_allclose(frame.force, atoms.get_forces(), atol=1e-6)
        np.testing.assert_allclose(frame.virial, virial(atoms), atol=1e-5)
        np.testing.assert_allclose(frame.positions, atoms.positions, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "write", "form"),
    [("vasprun.xml", vasp.vasprun, "vasp/xml"), ("OUTCAR", vasp.outcar, "vasp/outcar")],
)
def test_output(name: str, write: object, form: str, tmp_path: Path) -> None:
    frames = convert(name, write(FRAMES, smearing=0.01), tmp_path)  # type: ignore[operator]
    check(frames, FRAMES)
    reference = dpdata.LabeledSystem(str(tmp_path / name), fmt=form)
    np.testing.assert_allclose([frame.energy for frame in frames], reference["energies"], atol=1e-6)
    np.testing.assert_allclose([frame.force for frame in frames], reference["forces"], atol=1e-6)
    np.testing.assert_allclose([frame.virial for frame in frames], reference["virials"], atol=1e-4)
