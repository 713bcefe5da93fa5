"""NaN and infinity stand for a label that is not there; the other labels of the frame are kept."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.db import connect
from ase.io import write

from deepmd_dpa4.cli import main
from deepmd_dpa4.tools.data.frame import Place
from deepmd_dpa4.tools.data.labels import Keys, Labels
from deepmd_dpa4.tools.data.reader import frames_at, sets
from deepmd_dpa4.tools.data.sources import from_atoms
from deepmd_dpa4.tools.data.stress import Convention
from tests.support.structures import crystals, virial
from tests.support.toy import toy_frames, write_system

NAN = float("nan")


def frames() -> list[Atoms]:
    """Two complete ones, two without stress, one of an infinite stress, one without energy, one without forces."""
    made = crystals(7)
    for index, value in ((2, NAN), (3, NAN), (4, float("inf"))):
        made[index].calc.results["stress"] = np.full(6, value)
    made[5].calc.results["energy"] = NAN
    made[6].calc.results["forces"] = np.full((4, 3), NAN)
    return made


def write_database(path: Path, made: list[Atoms]) -> None:
    with connect(str(path)) as database:
        for atoms in made:
            database.write(atoms)


def converted(source: Path, *words: str) -> dict[str, int]:
    """Frames by folder."""
    out = source.with_name("out")
    assert main(["data", "convert", str(source), "-o", str(out), *words]) == 0
    return {path.parent.name: sum(map(len, sets(path.parent))) for path in out.glob("*/type.raw")}


def rows(source: Path) -> list[tuple[str, ...]]:
    with source.with_name("out").joinpath("problems.csv").open(newline="") as file:
        return [tuple(row[key] for key in ("problem", "frame", "detail", "written")) for row in csv.DictReader(file)]


@pytest.mark.parametrize(("name", "save"), [("a.extxyz", write), ("a.traj", write), ("a.db", write_database)])
def test_good_labels_are_kept(name: str, save: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / name, frames())
    folders = converted(tmp_path / name)
    assert folders == {"Al2Cu2": 2, "Al2Cu2-no_virial": 3, "Al2Cu2-no_energy": 1, "Al2Cu2-no_force": 1}
    start = 1 if name == "a.db" else 0
    lost = [(2, "virial"), (3, "virial"), (4, "virial"), (5, "energy"), (6, "force")]
    expected = [("labels that are not finite", str(start + index), label, "yes") for index, label in lost]
    if name == "a.db":
        # SQLite has no NaN; a row without an energy comes back
        expected[3] = ("no energy", "6", "", "yes")
    assert rows(tmp_path / name) == expected
    found = {frame.place.source.split("/")[-2]: frame for frame in frames_at([tmp_path / "out"])}
    complete, unlabelled = frames()[1], frames()[5]
    assert found["Al2Cu2"].energy == pytest.approx(complete.get_potential_energy())
    np.testing.assert_allclose(found["Al2Cu2"].virial, virial(complete), atol=1e-6)
    order = np.argsort(unlabelled.numbers, kind="stable")
    np.testing.assert_allclose(found["Al2Cu2-no_energy"].force, unlabelled.get_forces()[order], atol=1e-7)
    assert "energy: 'energy' in 6 frames" in capsys.readouterr().out


def test_data_of_deepmd_kit(tmp_path: Path) -> None:
    part = write_system(tmp_path / "system", toy_frames(3, seed=0)) / "set.000"
    values = np.load(part / "virial.npy")
    values[1] = NAN
    np.save(part / "virial.npy", values)
    conditions = "aparam_1-charge_spin_2-fparam_1"
    assert converted(tmp_path / "system") == {f"H4O2-{conditions}": 2, f"H4O2-no_virial-{conditions}": 1}


def test_what_cannot_be_used(tmp_path: Path) -> None:
    """Neither label is finite, or the structure is not."""
    made = frames()[4:6]
    made[0].calc.results |= {"energy": NAN, "forces": np.full((4, 3), np.inf)}
    made += crystals(1, seed=1)
    write(tmp_path / "a.extxyz", made)
    text = (tmp_path / "a.extxyz").read_text().splitlines()
    first = text[14].split()
    text[14] = " ".join([first[0], "nan", *first[2:]])
    (tmp_path / "a.extxyz").write_text("\n".join(text) + "\n")
    assert converted(tmp_path / "a.extxyz") == {"Al2Cu2-no_energy": 1}
    assert rows(tmp_path / "a.extxyz") == [
        ("values that are not finite", "0", "energy, force, virial", "no"),
        ("labels that are not finite", "1", "energy", "yes"),
        ("values that are not finite", "2", "positions", "no"),
    ]


def test_dropping_bad_frames_keeps_them(tmp_path: Path) -> None:
    write(tmp_path / "a.extxyz", frames())
    assert sum(converted(tmp_path / "a.extxyz", "--drop-bad").values()) == 7


@pytest.mark.parametrize("broken", ["virial", "stress"])
def test_stress_and_virial(broken: str) -> None:
    """The finite one of the two is taken."""
    (atoms,) = crystals(1)
    atoms.calc.results["virial"] = virial(atoms)
    expected = virial(atoms)
    atoms.calc.results[broken] = np.full((3, 3), NAN)
    labels = Labels(Keys(), Convention())
    found = labels.frame(from_atoms(Place("file", 0), atoms))
    np.testing.assert_allclose(found.virial, expected, atol=1e-9)
    assert labels.used[broken, broken] == 0


def test_a_named_label_that_is_nowhere_finite(tmp_path: Path) -> None:
    """The name is right, so that it is not called wrong."""
    made = crystals(2)
    for atoms in made:
        atoms.calc.results["stress"] = np.full(6, NAN)
    write(tmp_path / "a.extxyz", made)
    assert converted(tmp_path / "a.extxyz", "--stress-key", "stress") == {"Al2Cu2-no_virial": 2}
