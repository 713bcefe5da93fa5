"""VASP's outputs: the energy of the forces, and the sign and unit of the stress, are those of dpdata."""

import csv
import re
from pathlib import Path

import dpdata
import numpy as np
import pytest
from ase import Atoms

from deepmd_dpa4.cli import main
from deepmd_dpa4.tools.data.reader import frames_at
from deepmd_dpa4.tools.data.sources import format_of, records
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


STEP = re.compile(r"-+ Iteration .*?energy\(sigma->0\).*?\n\n", re.DOTALL)


def learned(step: str) -> str:
    """The same step as VASP writes it for a machine-learned force field."""
    for word in ("FORCE on cell", "FREE ENERGIE", "energy  without", "energy(sigma"):
        step = step.replace(f" {word}", f" ML {word}")
    step = step.replace("TOTAL-FORCE (eV/Angst)", "TOTAL-FORCE (eV/Angst) (ML)").replace("TOTEN  =", "ML TOTEN  =")
    return "".join(line for line in step.splitlines(keepends=True) if "Iteration" not in line)


def hybrid(kinds: str) -> tuple[str, str]:
    """Head and steps of an OUTCAR: ab initio (D), machine-learned (M), or one after the other of a single step (B)."""
    text = vasp.outcar(FRAMES, smearing=0.01)
    steps = STEP.findall(text)
    assert len(steps) == len(FRAMES)
    made = {"D": lambda step: step, "M": learned, "B": lambda step: step + learned(step)}
    return text[: text.index(steps[0])], "".join(made[kind](step) for kind, step in zip(kinds, steps))


@pytest.mark.parametrize(("kinds", "kept"), [("DMD", [0, 2]), ("MDM", [1]), ("BDB", [0, 1, 2]), ("MMD", [2])])
def test_machine_learned_steps_are_left_out(kinds: str, kept: list[int], tmp_path: Path) -> None:
    frames = convert("OUTCAR", "".join(hybrid(kinds)), tmp_path)
    check(frames, [FRAMES[index] for index in kept])
    with (tmp_path / "out" / "problems.csv").open(newline="") as file:
        rows = [(row["problem"], row["written"]) for row in csv.DictReader(file)]
    left_out = kinds.count("M") + kinds.count("B")
    assert rows == [("step of a machine-learned force field", "no")] * left_out


def test_good_files_are_kept_beside_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "OUTCAR.ml").write_text("".join(hybrid("MMM")))
    assert main(["data", "convert", str(tmp_path / "OUTCAR.ml"), "-o", str(tmp_path / "ml")]) == 1
    printed = capsys.readouterr().err
    assert (
        "none of 3 frames can be written: 3 with step of a machine-learned force field, and there is no ab" in printed
    )
    (tmp_path / "OUTCAR.dft").write_text("".join(hybrid("DDD")))
    words = [str(tmp_path / name) for name in ("OUTCAR.ml", "OUTCAR.dft")]
    assert main(["data", "convert", *words, "-o", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.startswith("3 of 6 frames")
    check(list(frames_at([tmp_path / "out"])), FRAMES)


def test_text_between_the_energies(tmp_path: Path) -> None:
    head, steps = hybrid("DDD")
    steps = re.sub(r"(TOTEN  =.*\n)", r"\1  dispersion energy (vdW) of Tkatchenko and Scheffler = -1.0 eV\n", steps)
    check(convert("OUTCAR", head + steps, tmp_path), FRAMES)


def test_steps_that_cannot_be_parsed(tmp_path: Path) -> None:
    """Later steps of a run that writes positions once."""
    head, steps = hybrid("DDD")
    first, *others = STEP.findall(steps)
    text = head + first + "".join(step.replace("POSITION ", "POSITIONS") for step in others)
    (tmp_path / "OUTCAR").write_text(text)
    assert len(list(records(tmp_path / "OUTCAR", format_of(tmp_path / "OUTCAR")))) == 3
    check(convert("OUTCAR", text, tmp_path), FRAMES[:1])
    rows = (tmp_path / "out" / "problems.csv").read_text().splitlines()[1:]
    assert [row.split(",")[2] for row in rows] == ["1", "2"]
    assert all("step that cannot be read" in row and "property positions" in row for row in rows)
