"""Uncertainties inside archives of torch."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from deepmd_dpa4.checkpoint.archive import FileError, open_archive
from deepmd_dpa4.uncertainty.archive_entry import (
    Entry,
    UncertaintyError,
    has_any_entry,
    has_entry,
    read_entry,
    write_entry,
)
from deepmd_dpa4.uncertainty.rigidity import Rigidity

CONTENT = {"weights": torch.arange(64.0), "more": {"step": 3, "state": torch.ones(3, dtype=torch.float64)}}


def entry(seed: int = 0) -> Entry:
    rows = np.random.default_rng(seed).normal(size=(8, 4))
    return Entry(Rigidity(rows.T @ rows, 1e-3, 0.5 + seed), 100 + seed, 20, True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.save(CONTENT, tmp_path / "model.pt")
    return tmp_path / "model.pt"


def assert_same(found: Entry, expected: Entry) -> None:
    np.testing.assert_array_equal(found.rigidity.gram, expected.rigidity.gram)
    for name in ("ridge", "scale"):
        assert getattr(found.rigidity, name) == getattr(expected.rigidity, name)
    for name in ("frames", "calibration", "validated"):
        assert getattr(found, name) == getattr(expected, name)


def test_round_trip(file: Path) -> None:
    """Branches keep theirs when another one is written, or the same one again."""
    write_entry(file, file, "one", entry(1))
    size = file.stat().st_size
    write_entry(file, file, "two", entry(2))
    write_entry(file, file, "one", entry(3))
    write_entry(file, file, "two", entry(4))
    write_entry(file, file, "two/../x", entry(5))
    for head, seed in (("one", 3), ("two", 4), ("two/../x", 5)):
        assert_same(read_entry(file, head), entry(seed))
    assert not has_entry(file, None) and has_any_entry(file)
    assert file.stat().st_size < 4 * size


def test_torch_reads_what_it_wrote(file: Path) -> None:
    """The bytes of torch stay where they were, so that they can be mapped."""
    before = file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        end = archive.start_dir
    for _ in range(2):
        write_entry(file, file, None, entry())
    assert file.read_bytes()[:end] == before[:end]
    for mapped in (False, True):
        found = torch.load(file, weights_only=True, mmap=mapped)
        assert torch.equal(found["weights"], CONTENT["weights"])
        assert torch.equal(found["more"]["state"], CONTENT["more"]["state"])
    with open_archive(file) as archive:
        assert archive.kind == "checkpoint"


def test_another_file(file: Path) -> None:
    output = file.with_name("other.pt")
    write_entry(file, output, None, entry())
    assert not has_any_entry(file)
    assert_same(read_entry(output, None), entry())


def test_script(tmp_path: Path) -> None:
    file = tmp_path / "model.pth"
    module = torch.jit.script(torch.nn.Linear(3, 2))
    torch.jit.save(module, file, {"note": "kept"})
    write_entry(file, file, None, entry())
    assert_same(read_entry(file, None), entry())
    more = {"note": ""}
    assert torch.equal(torch.jit.load(file, _extra_files=more).weight, module.weight)
    assert more["note"] in ("kept", b"kept")


def test_other_weights(file: Path) -> None:
    """An entry that was carried to a file with other weights is void; weights of any size count."""
    write_entry(file, file, None, entry())
    with zipfile.ZipFile(file) as archive:
        (name,) = (name for name in archive.namelist() if "uncertainty" in name)
        data = archive.read(name)
    torch.save(CONTENT | {"weights": torch.arange(64.0).index_fill(0, torch.tensor([9]), 9.5)}, file)
    assert not has_any_entry(file)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(name, data)
    with pytest.raises(UncertaintyError, match=r"were computed for other weights than it holds: `dpa4 uncertainty"):
        read_entry(file, None)


def test_moved_file(file: Path) -> None:
    write_entry(file, file, None, entry())
    assert_same(read_entry(Path(shutil.move(file, file.with_name("renamed.pt"))), None), entry())


def test_absent(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UncertaintyError, match=r"holds no uncertainties: `dpa4 uncertainty .* --head one` adds them"):
        read_entry(file, "one")
    legacy = tmp_path / "legacy.pt"
    torch.save(CONTENT, legacy, _use_new_zipfile_serialization=False)
    assert not has_any_entry(legacy)
    with pytest.raises(UncertaintyError, match="holds no uncertainties"):
        read_entry(legacy, None)
    with pytest.raises(FileError, match=r"legacy.pt is in the old format of torch"):
        write_entry(legacy, legacy, None, entry())


@pytest.mark.parametrize("damage", [b"no archive", b""])
def test_unreadable(file: Path, damage: bytes) -> None:
    write_entry(file, file, None, entry())
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, damage if "uncertainty" in name else data)
    with pytest.raises(FileError, match="is damaged: its uncertainties cannot be read"):
        read_entry(file, None)


@pytest.mark.parametrize("rigidity", [Rigidity(np.full((2, 2), np.nan), 1.0, 1.0), Rigidity(np.eye(2), -1.0, 1.0)])
def test_senseless_numbers(file: Path, rigidity: Rigidity) -> None:
    write_entry(file, file, None, Entry(rigidity, 1, 1, True))
    with pytest.raises(FileError, match="is damaged: its uncertainties cannot be read"):
        read_entry(file, None)
