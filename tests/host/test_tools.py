"""Commands that read a trained model."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support.commands import dp, errors
from tests.support.official import needs_official
from tests.support.predict import assert_same, difference, predict
from tests.support.runs import Data, Run


@pytest.mark.parametrize("kind", ["checkpoint", "frozen"])
def test_dp_test(trained: Run, data: Data, kind: str, tmp_path: Path) -> None:
    path = getattr(trained, kind)
    printed = errors(dp("test", "-m", path, "-s", data.valid, "-n", "5", "-d", "detail", folder=tmp_path))
    found = predict(path, data.frames)
    root = {
        "Energy": np.sqrt(((found.energy.ravel() - data.frames.energy) ** 2).mean()),
        "Force": np.sqrt(((found.force - data.frames.force) ** 2).mean()),
        "Virial": np.sqrt(((found.virial - data.frames.virial) ** 2).mean()),
    }
    for name, value in root.items():
        assert printed[name] == pytest.approx(value, rel=1e-4), name
    assert np.loadtxt(tmp_path / "detail.e.out").shape == (5, 2)


def test_freeze_without_suffix_adds_one(trained: Run, tmp_path: Path) -> None:
    dp("freeze", "-c", trained.checkpoint, "-o", tmp_path / "model", folder=tmp_path)
    assert sorted(path.name for path in tmp_path.glob("model*")) == ["model.pth"]


def test_freeze_by_default_writes_torchscript(trained: Run, tmp_path: Path) -> None:
    """Official writes ``.pt2`` whatever is asked for; the name that DeePMD-kit prints in its help is ``.pth``."""
    folder = tmp_path / "run"
    shutil.copytree(trained.folder, folder, symlinks=True)
    dp("freeze", folder=folder)
    assert (folder / "frozen_model.pth").exists()


@needs_official
def test_freeze_refuses_other_suffixes(trained: Run, tmp_path: Path) -> None:
    printed = dp("freeze", "-c", trained.checkpoint, "-o", tmp_path / "model.pb", folder=tmp_path, fails=True)
    assert "model.pb" in printed
    assert ".pth" in printed
    assert not list(tmp_path.glob("model*"))


def test_freeze_keeps_a_dot_in_the_name(trained: Run, tmp_path: Path) -> None:
    dp("freeze", "-c", trained.checkpoint, "-o", tmp_path / "water-1.5.pth", folder=tmp_path)
    assert (tmp_path / "water-1.5.pth").exists()


@pytest.mark.parametrize("kind", ["checkpoint", "frozen"])
class TestChangeBias:
    def test_by_data(self, trained: Run, data: Data, kind: str, tmp_path: Path) -> None:
        source = getattr(trained, kind)
        target = tmp_path / f"changed{source.suffix}"
        shifted = tmp_path / "shifted"
        shutil.copytree(data.valid, shifted)
        np.save(shifted / "set.000" / "energy.npy", data.frames.energy + 12.0)
        dp("change-bias", source, "-s", shifted, "-o", target, folder=tmp_path)
        before, after = predict(source, data.frames), predict(target, data.frames)
        assert difference(after.force, before.force) < 1e-6
        # one composition: the mean error vanishes after the fit
        assert (after.energy.ravel() - data.frames.energy).mean() == pytest.approx(12.0, abs=2e-2)

    def test_by_value(self, trained: Run, data: Data, kind: str, tmp_path: Path) -> None:
        source = getattr(trained, kind)
        target, other = (tmp_path / f"{name}{source.suffix}" for name in ("first", "second"))
        dp("change-bias", source, "-b", "-1.0", "-2.0", "-o", target, folder=tmp_path)
        dp("change-bias", source, "-b", "-1.5", "-2.0", "-o", other, folder=tmp_path)
        first, second = predict(target, data.frames), predict(other, data.frames)
        shift = (second.atom_energy - first.atom_energy)[..., 0]
        assert np.allclose(shift, [-0.5, 0, 0, -0.5, 0, 0], atol=1e-6)


@pytest.mark.parametrize("kind", ["checkpoint", "frozen"])
def test_eval_desc(trained: Run, data: Data, kind: str, tmp_path: Path) -> None:
    path = getattr(trained, kind)
    dp("eval-desc", "-m", path, "-s", data.valid, "-o", tmp_path / "desc", folder=tmp_path)
    (file,) = (tmp_path / "desc").rglob("*.npy")
    found = np.load(file)
    assert found.size == 5 * 6 * 8
    assert np.isfinite(found).all()
    assert found.std() > 0


def test_eval_desc_of_both_files_agrees(trained: Run, data: Data) -> None:
    from tests.support.predict import deep_pot

    cell = data.frames.cell.reshape(5, 9)
    one, two = (
        deep_pot(path).eval_descriptor(data.frames.coord, cell, [0, 1, 1, 0, 1, 1])
        for path in (trained.checkpoint, trained.frozen)
    )
    assert difference(one, two) < 1e-5


def test_model_devi(trained: Run, data: Data, tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    dp("change-bias", trained.frozen, "-b", "1.0", "2.0", "-o", other, folder=tmp_path)
    dp("model-devi", "-m", trained.frozen, trained.checkpoint, "-s", data.valid, "-o", "devi.out", folder=tmp_path)
    assert np.loadtxt(tmp_path / "devi.out").shape[0] == 5
    assert np.loadtxt(tmp_path / "devi.out")[:, 1:].max() < 1e-5


def test_show(trained: Run, tmp_path: Path) -> None:
    wanted = ["type-map", "descriptor", "fitting-net", "size", "observed-type"]
    for path in (trained.checkpoint, trained.frozen):
        printed = dp("show", path, *wanted, folder=tmp_path)
        assert "['O', 'H']" in printed
        assert "channels" in printed
        assert "dpa4" in printed


def test_both_files_predict_the_same(trained: Run, data: Data) -> None:
    assert_same(predict(trained.frozen, data.frames), predict(trained.checkpoint, data.frames))


def test_compress_is_refused_clearly(trained: Run, tmp_path: Path) -> None:
    printed = dp("compress", "-i", trained.frozen, "-o", tmp_path / "small.pth", folder=tmp_path, fails=True)
    assert "compress" in printed.splitlines()[-1].lower() or "NotImplementedError" in printed
