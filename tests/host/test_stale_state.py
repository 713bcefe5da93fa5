"""Checkpoints with constants in the descriptor that this version does not have run through every command.

Versions of DeePMD-kit differ in what they store beside the parameters; released models come from an older one.
"""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from deepmd_dpa4.cli import main
from deepmd_dpa4.inference.evaluator import Evaluator
from tests.inference.test_evaluator import structures
from tests.support import inputs
from tests.support.commands import dp, errors, lammps
from tests.support.lammps import triclinic, write_box
from tests.support.predict import SINGLE, assert_same, deep_pot, difference, predict
from tests.support.runs import Data, Run

STALE = {
    "_empty_tensor": (0,),
    "blocks.0.so2_conv.coeff_index_m": (7,),
    "blocks.0.so2_conv.degree_index_m": (7,),
    "blocks.1.so2_conv.rotate_inv_rescale_full": (9,),
    "blocks.0.what_a_later_version_keeps": (2, 3),
}
LEFT_OUT = "left out 5 tensors of the checkpoint that are no parameters of DPA4: _empty_tensor, blocks.0"


def add_stale(checkpoint: Path, path: Path, branches: tuple[str, ...] = ("Default",)) -> Path:
    content = torch.load(checkpoint, weights_only=True)
    generator = torch.Generator().manual_seed(1)
    for branch in branches:
        for name, shape in STALE.items():
            value = torch.rand(shape, generator=generator)
            content["model"][f"model.{branch}.atomic_model.descriptor.{name}"] = value
    torch.save(content, path)
    return path


@pytest.fixture(scope="module")
def stale(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return add_stale(trained.checkpoint, tmp_path_factory.mktemp("stale") / "model.pt")


def test_deep_pot(stale: Path, trained: Run, data: Data, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "deepmd.dpa4"):
        assert_same(predict(stale, data.frames), predict(trained.checkpoint, data.frames), 1e-12)
    assert [record.message for record in caplog.records if record.message.startswith(LEFT_OUT)] != []


def test_evaluator_and_ase(stale: Path, trained: Run) -> None:
    from ase import Atoms

    from deepmd_dpa4.engines.ase import DPA4Calculator

    expected = Evaluator(trained.checkpoint).evaluate(structures(2))
    for found, reference in zip(Evaluator(stale).evaluate(structures(2)), expected, strict=True):
        assert found.energy == pytest.approx(reference.energy, rel=1e-12)
    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 1.0]], calculator=DPA4Calculator(stale))
    assert np.isfinite(atoms.get_forces()).all()


def test_dp_test(stale: Path, trained: Run, data: Data, tmp_path: Path) -> None:
    printed = [dp("test", "-m", file, "-s", data.valid, folder=tmp_path) for file in (stale, trained.checkpoint)]
    assert errors(printed[0]) == pytest.approx(errors(printed[1]), rel=1e-9)


@pytest.mark.parametrize("command", ["dp", "dpa4"])
def test_freeze_and_lammps(stale: Path, trained: Run, command: str, tmp_path: Path) -> None:
    frozen = tmp_path / "model.pth"
    if command == "dp":
        assert LEFT_OUT in dp("freeze", "-c", stale, "-o", frozen, folder=tmp_path)
    else:
        assert main(["freeze", str(stale), "-o", str(frozen)]) == 0
    box = triclinic()
    assert_same(predict(frozen, box.frames), predict(trained.checkpoint, box.frames))
    if command == "dp":
        return
    write_box(tmp_path / "box.data", box)
    printed = lammps(
        "units metal\natom_style atomic\nbox tilt large\nread_data box.data\nmass 1 16\nmass 2 1\n"
        "pair_style deepmd model.pth\npair_coeff * * O H\nthermo_style custom step pe\n"
        "thermo_modify format float %20.12f\nrun 0\n",
        tmp_path,
    )
    energy = float(re.search(r"PotEng\s*\n\s*0\s+(\S+)", printed)[1])  # type: ignore[index]
    assert energy == pytest.approx(predict(trained.checkpoint, box.frames).energy[0, 0], rel=SINGLE)


@pytest.mark.parametrize("option", ["--restart", "--init-model", "--finetune"])
def test_training(stale: Path, data: Data, option: str, tmp_path: Path) -> None:
    content = {"model": inputs.model(inputs.DESCRIPTOR)} | inputs.training(data.train, steps=61, rate=1e-25)
    content["learning_rate"] |= inputs.VANISHING
    printed = dp("train", inputs.write(tmp_path, content), option, stale, "--skip-neighbor-stat", folder=tmp_path)
    assert LEFT_OUT in printed
    found = predict(tmp_path / "model.ckpt.pt", data.frames).force
    assert difference(found, predict(stale, data.frames).force) < SINGLE


@pytest.mark.parametrize("option", ["--restart", "--init-model", "--finetune"])
def test_weights_without_an_optimizer(stale: Path, data: Data, option: str, tmp_path: Path) -> None:
    """As released models are stored, and files of averaged weights."""
    weights = tmp_path / "weights.pt"
    torch.save({"model": torch.load(stale, weights_only=True)["model"]}, weights)
    content = {"model": inputs.model(inputs.DESCRIPTOR)} | inputs.training(data.train, steps=61, rate=1e-25)
    content["learning_rate"] |= inputs.VANISHING
    printed = dp("train", inputs.write(tmp_path, content), option, weights, "--skip-neighbor-stat", folder=tmp_path)
    assert ("holds no state of the optimizer, which starts afresh" in printed) == (option != "--finetune")
    found = predict(tmp_path / "model.ckpt.pt", data.frames).force
    assert difference(found, predict(stale, data.frames).force) < SINGLE


def test_change_bias_and_descriptors(stale: Path, trained: Run, data: Data, tmp_path: Path) -> None:
    dp("change-bias", stale, "-b", "1", "2", "-o", tmp_path / "shifted.pt", folder=tmp_path)
    shifted = predict(tmp_path / "shifted.pt", data.frames)
    assert difference(shifted.force, predict(trained.checkpoint, data.frames).force) < SINGLE
    found = []
    for name, file in (("stale", stale), ("plain", trained.checkpoint)):
        dp("eval-desc", "-m", file, "-s", data.valid, "-o", tmp_path / name, folder=tmp_path)
        found.append(np.load(next((tmp_path / name).rglob("*.npy"))))
    np.testing.assert_array_equal(*found)


def test_dpa4_commands(
    stale: Path, trained: Run, data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = []
    for file in (stale, trained.checkpoint):
        assert main(["info", str(file)]) == 0
        counts.append(re.search(r"parameters +(\S+)", capsys.readouterr().out)[1])  # type: ignore[index]
    assert counts[0] == counts[1]
    picture = str(tmp_path / "p.png")
    assert main(["parity", str(stale), str(data.valid), "-o", picture]) == 0
    assert main(["dimer", str(stale), "O", "H", "--points", "20", "-o", picture]) == 0
    converted = tmp_path / "converted.pt"
    assert main(["convert", str(stale), "-o", str(converted)]) == 0
    assert "5 tensors that are no parameters are left out" in capsys.readouterr().err
    assert_same(predict(converted, data.frames), predict(trained.checkpoint, data.frames), 1e-12)


def test_branches(multi: Run, data: Data, tmp_path: Path) -> None:
    stale = add_stale(multi.checkpoint, tmp_path / "model.pt", ("one", "two"))
    for head in ("one", "two"):
        found = predict(deep_pot(stale, head=head), data.frames)
        assert_same(found, predict(deep_pot(multi.checkpoint, head=head), data.frames), 1e-12)


def test_rules_of_a_newer_version_are_refused(trained: Run, tmp_path: Path) -> None:
    content = torch.load(trained.checkpoint, weights_only=True)
    content["model"]["model.Default.atomic_model.descriptor.version_tensor"] = torch.tensor(9.9)
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(RuntimeError, match=r"`version_tensor` of the checkpoint is 9.9 but must be at most 1.2"):
        deep_pot(tmp_path / "model.pt")
