"""Damaged files are found before a number is computed, by every way to open them."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from deepmd_dpa4.checkpoint.archive import FileError
from deepmd_dpa4.checkpoint.read import UnreadableError, is_legacy, read_checkpoint
from deepmd_dpa4.cli import main
from deepmd_dpa4.host.build import build_model
from deepmd_dpa4.host.loading import examined, is_frozen_by_us
from deepmd_dpa4.host.resume import resumable
from tests.checkpoint.conftest import untrained
from tests.support import inputs
from tests.support.commands import BIN, call
from tests.support.runs import Data, Run


def flip(path: Path) -> Path:
    """Change one bit of a number of the largest tensor: torch reads the file as if nothing were wrong."""
    content = bytearray(path.read_bytes())
    weights = torch.load(path, map_location="cpu", weights_only=True)
    tensors = [value for value in weights.get("model", weights).values() if isinstance(value, torch.Tensor)]
    largest = max(tensors, key=torch.Tensor.numel)
    place = content.index(largest.contiguous().numpy().tobytes())
    content[place + 5] ^= 4
    path.write_bytes(content)
    return path


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-1000])
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return untrained(tmp_path, inputs.model(kernels="plain"), build_model)


DOORS: dict[str, Callable[[Path], object]] = {
    "read": read_checkpoint,
    "inference": examined,
    "restart": lambda path: resumable(str(path)).__enter__(),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_flipped_bit_is_found(door: str, checkpoint: Path) -> None:
    DOORS[door](checkpoint)
    flip(checkpoint)
    torch.load(checkpoint, weights_only=True)
    told = rf"^{re.escape(str(checkpoint))} is damaged: the checksum of \S+ does not fit its contents$"
    with pytest.raises(FileError, match=told):
        DOORS[door](checkpoint)


@pytest.mark.parametrize("door", DOORS)
def test_a_cut_file_is_named(door: str, checkpoint: Path) -> None:
    with pytest.raises(FileError, match=rf"^{re.escape(str(checkpoint))} is .*cut short"):
        DOORS[door](cut(checkpoint))


def test_files_of_others_are_left_to_deepmd_kit(tmp_path: Path) -> None:
    """Also in the old format of torch, which cannot be mapped into memory and has no checksums."""
    section = {"type": "standard", "type_map": ["O"], "descriptor": {"type": "se_e2_a"}}
    content = {"model": {"_extra_state": {"model_params": section}, "x": torch.ones(3)}}
    for number, archive in enumerate((True, False)):
        path = tmp_path / f"{number}.pt"
        torch.save(content, path, _use_new_zipfile_serialization=archive)
        assert is_legacy(path) != archive
        assert not examined(path)
        with resumable(str(path)) as given:
            assert given == str(path)
    torch.save({"other": 1}, tmp_path / "no options.pt")
    assert not examined(tmp_path / "no options.pt")
    assert not examined(tmp_path / "absent.pt")


def test_a_model_of_ours_in_the_old_format(checkpoint: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    torch.save(content, checkpoint, _use_new_zipfile_serialization=False)
    assert examined(checkpoint)
    assert read_checkpoint(checkpoint).params["type_map"] == ["O", "H"]
    checkpoint.write_bytes(checkpoint.read_bytes()[:200])
    with pytest.raises(UnreadableError, match=r"model.*\.pt is "):
        examined(checkpoint)


@pytest.mark.parametrize("words", [("--restart",), ("--init-model",), ("--finetune",)])
def test_training_from_a_damaged_file_ends_in_one_line(
    words: tuple[str, ...], checkpoint: Path, data: Data, tmp_path: Path
) -> None:
    inputs.write(tmp_path, {"model": inputs.model()} | inputs.training(data.train))
    cut(checkpoint)
    command = [BIN / "dp", "--pt", "train", "input.json", *words, checkpoint.name, "--skip-neighbor-stat"]
    printed = call(command, tmp_path, fails=True)
    assert "Traceback" not in printed
    assert any(line.startswith(f"dp: error: {checkpoint.name} is ") for line in printed.splitlines())


@pytest.mark.parametrize("harm", ["flipped", "cut", "text"])
def test_a_damaged_frozen_file(
    harm: str, trained: Run, data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.pth"
    content = bytearray(trained.frozen.read_bytes())
    assert is_frozen_by_us(trained.frozen)
    content[len(content) // 2] ^= 4
    path.write_bytes({"flipped": content, "cut": content[:5000], "text": b"{}"}[harm])
    for words in (["parity", str(path), str(data.valid)], ["dimer", str(path), "O", "H"]):
        assert main([*words, "-o", str(tmp_path / "plot.png")]) == 1
        assert capsys.readouterr().err.startswith(f"dpa4: error: {path} is ")
    if harm == "flipped":
        with pytest.raises(FileError, match="is damaged"):
            torch.jit.load(str(path))
