"""``dpa4 uncertainty`` and what the Python interface makes of it."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from deepmd_dpa4.cli import main
from deepmd_dpa4.engines.ase import DPA4Calculator
from deepmd_dpa4.freeze import freeze as freezing
from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.inference.structure import Structure
from deepmd_dpa4.tools.uncertainty.estimate import estimate
from deepmd_dpa4.uncertainty.archive_entry import UncertaintyError, has_any_entry, read_entry, write_entry
from tests.support.commands import dp
from tests.support.predict import SINGLE
from tests.support.runs import Data, Run
from tests.support.toy import TYPES, Frames, toy_frames, write_system

SYMBOLS = [("O", "H")[kind] for kind in TYPES]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_system(tmp_path_factory.mktemp("judged"), toy_frames(12, seed=7))


@pytest.fixture(scope="module")
def uncertain(trained: Run, data: Data, judged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint with uncertainties."""
    output = tmp_path_factory.mktemp("uncertain") / "model.pt"
    words = ["uncertainty", trained.checkpoint, data.train, "--validation", judged, "-o", output]
    assert main([str(word) for word in words]) == 0
    return output


def structures(frames: Frames) -> list[Structure]:
    return [Structure(SYMBOLS, coord, cell) for coord, cell in zip(frames.coord, frames.cell)]


def test_same_as_numpy(uncertain: Path, trained: Run, judged: Path) -> None:
    """From the features that the model tells, by the equations of the theory page."""
    evaluator = Evaluator(uncertain)
    train = evaluator.evaluate(structures(toy_frames(12, seed=0)), last_layer=True)
    sums = [prediction.last_layer.sum(axis=0) for prediction in train]
    gram = sum(np.outer(f, f) for f in sums) / len(TYPES)
    entry = read_entry(uncertain, None)
    np.testing.assert_allclose(entry.rigidity.gram, gram, rtol=1e-5, atol=1e-7 * np.abs(gram).max())
    assert (entry.frames, entry.calibration, entry.validated) == (12, 12, True)
    frames = toy_frames(12, seed=7)
    inverse = np.linalg.inv(entry.rigidity.gram + entry.rigidity.ridge * np.eye(len(gram)))
    ratios = []
    for prediction, energy in zip(evaluator.evaluate(structures(frames), last_layer=True), frames.energy):
        features = prediction.last_layer
        variance = features.sum(axis=0) @ inverse @ features.sum(axis=0)
        ratios.append((prediction.energy - energy) ** 2 / variance)
        expected = np.sqrt(entry.rigidity.scale * variance)
        assert prediction.energy_uncertainty == pytest.approx(expected, rel=1e-5)
        each = np.sqrt(entry.rigidity.scale * np.einsum("ia,ab,ib->i", features, inverse, features))
        np.testing.assert_allclose(prediction.energies_uncertainty, each, rtol=1e-5)
        assert prediction.energy_uncertainty <= prediction.energies_uncertainty.sum()
    assert entry.rigidity.scale == pytest.approx(np.mean(ratios), rel=1e-4)
    assert trained.checkpoint.is_symlink() and not has_any_entry(trained.checkpoint)


def test_larger_off_the_data(uncertain: Path) -> None:
    evaluator = Evaluator(uncertain)

    def mean(noise: float) -> float:
        base = toy_frames(12, seed=7)
        moved = base.coord + noise * np.random.default_rng(1).normal(size=base.coord.shape)
        found = evaluator.evaluate([Structure(SYMBOLS, coord, cell) for coord, cell in zip(moved, base.cell)])
        return float(np.mean([prediction.energy_uncertainty for prediction in found]))

    values = [mean(noise) for noise in (0.0, 0.15, 0.4)]
    assert values[0] < values[1] < values[2]
    assert values[2] > 1.3 * values[0]


def test_only_where_the_file_has_them(trained: Run, uncertain: Path) -> None:
    (structure, *_) = structures(toy_frames(1, seed=1))
    plain, more = Evaluator(trained.checkpoint), Evaluator(uncertain)
    (without,), (found,) = plain.evaluate([structure]), more.evaluate([structure])
    assert without.energy_uncertainty is without.energies_uncertainty is without.last_layer is found.last_layer is None
    assert found.energy == without.energy
    np.testing.assert_array_equal(found.forces, without.forces)
    assert more.evaluate([structure], uncertainty=False)[0].energy_uncertainty is None
    command = rf"holds no uncertainties: `dpa4 uncertainty {trained.checkpoint} DATA --validation DATA` adds them"
    with pytest.raises(UncertaintyError, match=command):
        plain.evaluate([structure], uncertainty=True)


def test_symmetries(uncertain: Path) -> None:
    frames, order = toy_frames(1, seed=1), [4, 2, 0, 5, 3, 1]
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    coord, cell = frames.coord[0], frames.cell[0]
    turned = Structure([SYMBOLS[i] for i in order], (coord @ turn.T)[order], cell @ turn.T)
    found, other = Evaluator(uncertain).evaluate([Structure(SYMBOLS, coord, cell), turned])
    assert other.energy_uncertainty == pytest.approx(found.energy_uncertainty, rel=1e-3)
    np.testing.assert_allclose(other.energies_uncertainty, found.energies_uncertainty[order], rtol=1e-3)


def test_frozen_file(uncertain: Path, trained: Run, tmp_path: Path) -> None:
    frozen = Path(shutil.copy(trained.frozen, tmp_path / "model.pth"))
    write_entry(frozen, frozen, None, read_entry(uncertain, None))
    made = structures(toy_frames(3, seed=1))
    for found, expected in zip(*(Evaluator(path).evaluate(made) for path in (frozen, uncertain)), strict=True):
        assert found.energy_uncertainty == pytest.approx(expected.energy_uncertainty, rel=1e-3)
        np.testing.assert_allclose(found.forces, expected.forces, atol=SINGLE * np.abs(expected.forces).max())


def test_freezing_carries_them(uncertain: Path, trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezing, "save_script", lambda tester, path, native: shutil.copy(trained.frozen, path))
    for name in ("reference_of", "check"):
        monkeypatch.setattr(freezing, name, lambda *_: None)
    freezing.freeze(str(uncertain), str(tmp_path / "model.pth"))
    found, expected = (read_entry(path, None) for path in (tmp_path / "model.pth", uncertain))
    np.testing.assert_array_equal(found.rigidity.gram, expected.rigidity.gram)


def test_ase(uncertain: Path, trained: Run) -> None:
    frames = toy_frames(1, seed=1)
    atoms = Atoms(SYMBOLS, frames.coord[0], cell=frames.cell[0], pbc=True)
    atoms.calc = DPA4Calculator(uncertain)
    atoms.get_potential_energy()
    (expected,) = Evaluator(uncertain).evaluate(structures(frames))
    assert atoms.calc.results["energy_uncertainty"] == expected.energy_uncertainty
    assert atoms.calc.get_property("energies_uncertainty", atoms) == pytest.approx(expected.energies_uncertainty)
    assert atoms.calc.calculate_properties(atoms, ["energy"])["energy"] == expected.energy
    atoms.calc = DPA4Calculator(trained.checkpoint)
    atoms.get_potential_energy()
    assert "energy_uncertainty" not in atoms.calc.results
    with pytest.raises(UncertaintyError, match=r"`dpa4 uncertainty .*` adds them"):
        atoms.calc.get_property("energy_uncertainty", atoms)


def test_restart_by_the_host(uncertain: Path, trained: Run, tmp_path: Path) -> None:
    """DeePMD-kit reads the file as if there were nothing, and what it writes has other weights and none."""
    content = json.loads((trained.folder / "input.json").read_text())
    content["training"]["numb_steps"] = 61
    (tmp_path / "input.json").write_text(json.dumps(content))
    dp("train", "input.json", "--restart", uncertain, folder=tmp_path)
    assert (tmp_path / "model.ckpt-61.pt").exists()
    assert not has_any_entry(tmp_path / "model.ckpt-61.pt")


def test_other_weights(uncertain: Path, trained: Run, tmp_path: Path) -> None:
    """They are left out with a warning, and refused when asked for."""
    changed = Path(shutil.copy(trained.folder / "model.ckpt-60.pt", tmp_path / "model.pt"))
    with zipfile.ZipFile(uncertain) as source, zipfile.ZipFile(changed, "a") as target:
        (name,) = (name for name in source.namelist() if "dpa4_uncertainty" in name)
        root = target.namelist()[0].partition("/")[0]
        target.writestr(f"{root}/{name.partition('/')[2]}", source.read(name))
        target.writestr(f"{root}/another", b"")
    with pytest.warns(UserWarning, match="were computed for other weights than it holds"):
        evaluator = Evaluator(changed)
    made = structures(toy_frames(1, seed=1))
    assert evaluator.evaluate(made)[0].energy_uncertainty is None
    with pytest.raises(UncertaintyError, match="were computed for other weights"):
        evaluator.evaluate(made, uncertainty=True)


@pytest.mark.parametrize("multi", [False], indirect=True)
def test_branches(multi: Run, data: Data, tmp_path: Path) -> None:
    file = Path(shutil.copy(multi.checkpoint, tmp_path / "model.pt"))
    assert main(["uncertainty", str(file), str(data.train), "--head", "ONE"]) == 0
    made = structures(toy_frames(1, seed=1))
    assert Evaluator(file, head="one").evaluate(made)[0].energy_uncertainty > 0
    with pytest.raises(UncertaintyError, match="--head two` adds them"):
        Evaluator(file, head="two").evaluate(made, uncertainty=True)


def test_calibration_on_training_data(
    trained: Run, data: Data, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["uncertainty", str(trained.checkpoint), str(data.train), "-o", str(tmp_path / "model.pt")]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "uncertainties are too small" in printed.err
    assert "12 frames of training data: energy RMSE" in printed.out


class TestErrors:
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["model.pt2", "data"], "`MODEL` is model.pt2 but must be a checkpoint .pt or a frozen file .pth"),
            (["model.pt", "data", "-o", "x.pth"], "`--output` is x.pth but must end in .pt, as MODEL does"),
            (["model.pt", "data", "-o", "none/x.pt"], "`--output` is none/x.pt but the folder none does not exist"),
            (["none.pt", "data"], "`model` is 'none.pt' but there is no such file"),
        ],
    )
    def test_words(self, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["uncertainty", *words]) == 1
        assert f"dpa4: error: {message}" in capsys.readouterr().err

    def test_data(self, trained: Run, data: Data, tmp_path: Path) -> None:
        evaluator = Evaluator(trained.checkpoint)
        few = write_system(tmp_path / "few", toy_frames(3, seed=2))
        with pytest.raises(ValueError, match=r"`--validation` is .*few: 3 frames with an energy .* at least 10"):
            estimate(evaluator, [data.train], [few])
        (few / "set.000" / "energy.npy").unlink()
        with pytest.raises(ValueError, match=r"`DATA` is .*few but must have frames with energies"):
            estimate(evaluator, [few])
        foreign = write_system(tmp_path / "foreign", toy_frames(3, seed=2), type_map=("O", "Xe"))
        with pytest.raises(ValueError, match=r"atom 'Xe' but must have those of"):
            estimate(evaluator, [foreign])

    def test_files_of_earlier_versions(self, trained: Run, data: Data) -> None:
        """Their evaluation knows no last layer."""
        evaluator = Evaluator(trained.frozen)

        class Earlier:
            class forward_systems:  # noqa: N801
                class schema:  # noqa: N801
                    arguments = ()

        evaluator.backend.model = Earlier()
        with pytest.raises(UncertaintyError, match="was frozen by an earlier deepmd-dpa4: freeze the checkpoint again"):
            estimate(evaluator, [data.train])
