"""``dpa4 descriptors`` writes what the network computes, frame by frame."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from deepmd_dpa4.cli import main
from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.tools.descriptors import collect as collecting
from deepmd_dpa4.tools.plots.parity import compare
from tests.support.predict import deep_pot
from tests.support.runs import Data, Run
from tests.support.toy import toy_frames, write_system


def read(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def expected(checkpoint: Path, data: Data) -> np.ndarray:
    """Descriptors of the validation data by DeePMD-kit, (frames, atoms, C)."""
    part = data.valid / "set.000"
    types = np.loadtxt(data.valid / "type.raw", dtype=int)
    return deep_pot(checkpoint).eval_descriptor(np.load(part / "coord.npy"), np.load(part / "box.npy"), types)


def test_frames(trained: Run, data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, picture = tmp_path / "d.npy", tmp_path / "map.svg"
    words = ["descriptors", str(trained.checkpoint), str(data.valid), "-o", str(output), "--map", str(picture)]
    assert main(words) == 0
    matrix, table = np.load(output), read(tmp_path / "d.csv")
    np.testing.assert_allclose(matrix, expected(trained.checkpoint, data).mean(axis=1), rtol=1e-5, atol=1e-6)
    assert [(row["system"], row["frame"]) for row in table] == [(str(data.valid), str(frame)) for frame in range(5)]
    energy, force, _ = compare(Evaluator(trained.checkpoint), [data.valid])
    found = [float(row["energy_error_eV_per_atom"]) for row in table]
    np.testing.assert_allclose(found, energy.errors, rtol=1e-3, atol=1e-6)
    norms = np.linalg.norm(force.errors.reshape(5, -1, 3), axis=2)
    rmse = [float(row["force_error_eV_per_A"]) for row in table]
    np.testing.assert_allclose(rmse, np.sqrt(np.mean(norms**2, axis=1)), rtol=1e-3)
    points = np.array([[float(row["map0"]), float(row["map1"])] for row in table])
    spread = np.sum((matrix - matrix.mean(axis=0)) ** 2)
    assert 0.5 * spread < np.sum(points**2) <= 1.0001 * spread
    drawn = picture.read_text()
    assert "force error (eV/Å)" in drawn and "of the variance" in drawn
    assert str(output) in capsys.readouterr().out


def test_frames_of_all_sets_are_counted_on(trained: Run, tmp_path: Path) -> None:
    folder = write_system(tmp_path / "two", toy_frames(3, seed=1))
    shutil.copytree(folder / "set.000", folder / "set.001")
    assert main(["descriptors", str(trained.checkpoint), str(folder), "-o", str(tmp_path / "d.csv")]) == 0
    rows = read(tmp_path / "d.csv")
    assert [(row["system"], row["frame"]) for row in rows] == [(str(folder), str(frame)) for frame in range(6)]


def test_atoms_of_one_table(trained: Run, data: Data, tmp_path: Path) -> None:
    """Rows are the atoms in the order of the files, with no matrix beside the table."""
    table = tmp_path / "d.csv"
    assert main(["descriptors", str(trained.frozen), str(data.valid), "--atoms", "-o", str(table)]) == 0
    rows = read(table)
    matrix = np.array([[float(value) for name, value in row.items() if name[0] == "d"] for row in rows])
    wanted = expected(trained.frozen, data)
    np.testing.assert_allclose(matrix, wanted.reshape(-1, wanted.shape[2]), rtol=1e-5, atol=1e-6)
    names = np.array(["O", "H"])[np.loadtxt(data.valid / "type.raw", dtype=int)]
    assert [row["element"] for row in rows] == list(names) * 5
    assert [row["atom"] for row in rows] == [str(atom) for atom in range(len(names))] * 5
    assert [path.name for path in tmp_path.iterdir()] == ["d.csv"]


def test_few_atoms_at_a_time(trained: Run, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator, sizes = Evaluator(trained.checkpoint), []
    monkeypatch.setattr(collecting, "ATOMS_AT_ONCE", 13)

    def counted(structures: list) -> list:
        sizes.append(sum(len(structure.symbols) for structure in structures))
        return Evaluator.descriptors(evaluator, structures)

    monkeypatch.setattr(evaluator, "descriptors", counted)
    whole = collecting.collect(evaluator, [data.train, data.valid], tmp_path / "d.npy", frames=8)
    assert max(sizes) <= 13 and sum(sizes) == 8 * 6
    assert len(np.load(tmp_path / "d.npy")) == len(whole) == 8
    assert list(whole.systems) == [str(data.train), str(data.valid)]


def test_without_labels(trained: Run, tmp_path: Path) -> None:
    system = write_system(tmp_path / "system", toy_frames(2, seed=5), periodic=False)
    for name in ("energy", "force"):
        (system / "set.000" / f"{name}.npy").unlink()
    picture = tmp_path / "map.svg"
    words = ["descriptors", str(trained.checkpoint), str(system), "--map", str(picture), "-o", str(tmp_path / "d.npy")]
    assert main(words) == 0
    assert {row["force_error_eV_per_A"] for row in read(tmp_path / "d.csv")} == {""}
    assert "error" not in picture.read_text()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["-o", "d.txt"], "`--output` is d.txt but must end in one of .npy, .csv"),
        (["--map", "m.jpg"], "`--map` is m.jpg but must end in one of"),
        (["--frames", "0"], "`--frames` is 0 but must be at least 1"),
    ],
)
def test_mistakes(words: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["descriptors", "model.pt", "data", *words]) == 1
    assert named in capsys.readouterr().err
