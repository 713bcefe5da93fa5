"""``dpa4 parity`` and ``dpa4 dimer`` draw what the model says."""

import re
from pathlib import Path

import numpy as np
import pytest

from deepmd_dpa4.cli import main
from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.tools.data.errors import DataError
from deepmd_dpa4.tools.data.labelled import labelled
from deepmd_dpa4.tools.data.reader import frames_at
from deepmd_dpa4.tools.plots.dimer import clamp_zone, model_curve, zbl_curve
from deepmd_dpa4.tools.plots.parity import compare
from tests.support import inputs
from tests.support.commands import dp, errors
from tests.support.runs import Data, Run, train
from tests.support.toy import toy_frames, write_system


def words_of(picture: Path) -> str:
    return "\n".join(re.findall(r"<!-- (.*?) -->", picture.read_text()))


def write_xyz(path: Path, system: Path, kinds: list[str]) -> Path:
    """The frames of a system as extended XYZ, with the given values of ``config_type``."""
    from ase import Atoms
    from ase.io import write

    atoms = []
    for kind, frame in zip(kinds, frames_at([system]), strict=True):
        info = {"config_type": kind, "energy": frame.energy, "virial": frame.virial}
        atoms.append(Atoms(frame.symbols, frame.positions, cell=frame.cell, pbc=True, info=info))
        atoms[-1].arrays["forces"] = frame.force
    write(path, atoms, format="extxyz")
    return path


@pytest.fixture(scope="module")
def bridged(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A model with zone bridging."""
    content = {"model": inputs.model(bridging_method="zbl", bridging_r_inner=0.6, bridging_r_outer=0.9)}
    return train(tmp_path_factory.mktemp("bridged"), content | inputs.training(data.train, steps=2))


class TestParity:
    def test_same_errors_as_dp_test(
        self, trained: Run, data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        picture = tmp_path / "p.svg"
        assert main(["parity", str(trained.checkpoint), str(data.valid), "-o", str(picture)]) == 0
        printed = capsys.readouterr().out
        rows = re.findall(r"(energy|force|virial) +│ +(\d+) +│ +([\d.e+-]+) +│", printed)
        parts = re.findall(r"(element|system) +│ (\S+) +│ (\d+) +│ (\d+)", printed)
        assert [(kind, *counts) for kind, _, *counts in parts] == [
            ("element", "5", "10"),
            ("element", "5", "20"),
            ("system", "5", "30"),
        ]
        found = {name: float(rmse) / 1000 for name, _, rmse in rows}
        expected = errors(dp("test", "-m", trained.checkpoint, "-s", data.valid, folder=tmp_path))
        assert found["energy"] == pytest.approx(expected["Energy/Natoms"], rel=1e-3)
        assert found["force"] == pytest.approx(expected["Force"], rel=1e-3)
        assert found["virial"] == pytest.approx(expected["Virial/Natoms"], rel=1e-3)
        assert [int(count) for _, count, _ in rows] == [5, 5 * 6 * 3, 5 * 9]
        assert "reference force component (eV/Å)" in words_of(picture)
        assert trained.checkpoint.name in words_of(picture)

    def test_a_plot_that_cannot_be_written_costs_no_table(
        self, trained: Run, data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        taken = tmp_path / "taken.png"
        taken.mkdir()
        assert main(["parity", str(trained.checkpoint), str(data.valid), "-o", str(taken)]) == 1
        told = capsys.readouterr()
        assert "taken.png cannot be written" in told.err
        assert "RMSE" in told.out and "energy" in told.out

    def test_fewer_frames(self, trained: Run, data: Data) -> None:
        evaluator = Evaluator(trained.checkpoint)
        energy, force, virial = compare(evaluator, [data.train, data.valid], frames=3)
        assert [len(quantity.errors) for quantity in (energy, force, virial)] == [3, 54, 27]
        everything = compare(evaluator, [data.train, data.valid])[0]
        assert set(energy.pairs[0]) == set(everything.pairs[0][[0, 8, 16]])

    def test_errors_of_subsets(
        self, trained: Run, data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = write_xyz(tmp_path / "valid.xyz", data.valid, ["small", "large", "large", "small", "small"])
        words = ["parity", str(trained.checkpoint), str(file), "--by", "config_type", "-o", str(tmp_path / "p.png")]
        assert main(words) == 0
        printed = capsys.readouterr().out
        folder = compare(Evaluator(trained.checkpoint), [data.valid])
        for name, chosen in (("small", [0, 3, 4]), ("large", [1, 2])):
            (row,) = re.findall(rf"{name} +│ (\d) +│ ([\d.e+]+) +│ ([\d.e+]+) +│ ([\d.e+]+) +│", printed)
            assert int(row[0]) == len(chosen)
            for quantity, value in zip(folder, row[1:]):
                errors = np.abs(quantity.errors).reshape(5, -1)[chosen]
                assert float(value) == pytest.approx(1000 * errors.mean(), rel=1e-3)
        assert re.search(r"geometric mean +│ 5 ", printed)

    def test_key_that_the_file_lacks(self, data: Data, tmp_path: Path) -> None:
        file = write_xyz(tmp_path / "valid.xyz", data.valid, ["small"] * 5)
        with pytest.raises(DataError, match=r"`--by` is 'kind' but must be one of the keys of .*frame 0: config_type"):
            labelled(file, "kind")

    def test_missing_labels(self, trained: Run, tmp_path: Path) -> None:
        system = write_system(tmp_path / "system", toy_frames(2, seed=5), periodic=False)
        quantities = compare(Evaluator(trained.checkpoint), [system])
        assert [quantity.name for quantity in quantities] == ["energy", "force"]

    def test_labels_that_are_not_finite(self, trained: Run, tmp_path: Path) -> None:
        part = write_system(tmp_path / "system", toy_frames(2, seed=5)) / "set.000"
        np.save(part / "energy.npy", [np.nan, np.load(part / "energy.npy")[1]])
        energy, force, virial = compare(Evaluator(trained.checkpoint), [part.parent])
        assert (len(energy.errors), energy.missing, force.missing, virial.missing) == (1, 1, 0, 0)
        assert np.isfinite(energy.rmse)

    @pytest.mark.parametrize("head", ["one", "two"])
    def test_head(self, multi: Run, data: Data, head: str, tmp_path: Path) -> None:
        words = ["parity", str(multi.checkpoint), str(data.valid), "--head", head, "-o", str(tmp_path / "p.png")]
        assert main(words) == 0
        assert (tmp_path / "p.png").exists()


class TestDimer:
    def test_force_is_the_slope(self, trained: Run) -> None:
        distance = np.linspace(0.7, 4.5, 400)
        curve = model_curve(Evaluator(trained.checkpoint), ("O", "H"), distance)
        slope = np.gradient(curve.energy, distance, edge_order=2)
        np.testing.assert_allclose(curve.force, -slope, atol=2e-2 * np.abs(slope).max())
        # beyond the cutoff a difference of equal energies, which batches of single precision round differently
        assert curve.energy[-1] == pytest.approx(0.0, abs=1e-7)

    def test_below_the_clamp_only_zbl_acts(self, bridged: Run) -> None:
        evaluator = Evaluator(bridged.checkpoint)
        distance = np.linspace(0.2, 0.6, 20)
        model, zbl = model_curve(evaluator, ("O", "H"), distance), zbl_curve(("O", "H"), distance)
        assert zbl is not None
        np.testing.assert_allclose(model.force, zbl.force, rtol=1e-6)
        np.testing.assert_allclose(np.diff(model.energy), np.diff(zbl.energy), rtol=1e-4)
        assert clamp_zone(evaluator, ("O", "H")) == (0.6, 0.9)

    def test_zbl_needs_elements(self) -> None:
        assert zbl_curve(("O", "water"), np.ones(1)) is None

    def test_command(self, bridged: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        picture = tmp_path / "d.svg"
        words = ["dimer", str(bridged.checkpoint), "O", "O", "--to", "5", "--points", "50", "-o", str(picture)]
        assert main(words) == 0
        assert "minimum" in capsys.readouterr().out
        words_in_picture = words_of(picture)
        for word in ("O-O energy (eV)", "O-O force (eV/Å)", "ZBL repulsion", "bridging zone", "cutoff", "distance (Å)"):
            assert word in words_in_picture
