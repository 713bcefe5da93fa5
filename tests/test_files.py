"""Files appear complete or not at all, also where the disk is full."""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from deepmd_dpa4 import files
from deepmd_dpa4.files import WriteError, replacing, write_bytes, write_text
from tests.support.disks import small_disk

PACKAGE = Path(files.__file__).parent
FULL = os.strerror(errno.ENOSPC)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 256) as folder:
        yield folder


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("old")
    path.chmod(0o640)
    with replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_usual_rights(tmp_path: Path) -> None:
    write_text(tmp_path / "by this", "ä")
    (tmp_path / "usual").write_text("ä", encoding="utf-8")
    assert (tmp_path / "by this").read_bytes() == (tmp_path / "usual").read_bytes()
    assert (tmp_path / "by this").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    (tmp_path / "link").symlink_to("kept")
    write_text(tmp_path / "link", "new")
    assert [(tmp_path / name).read_text() for name in ("kept", "link")] == ["kept", "new"]


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with replacing(path) as partial:
        (partial / "set.000").mkdir(parents=True)
        (partial / "set.000" / "type.raw").write_text("0\n")
        assert not path.exists()
    assert (path / "set.000" / "type.raw").read_text() == "0\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("wrong"), FileNotFoundError(2, "absent", "source")])
def test_any_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "text"
    path.write_text("old")
    with pytest.raises(type(error)) as caught, replacing(path) as partial:
        partial.write_text("half")
        raise error
    assert caught.value is error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


WRITERS: dict[str, Callable[[Path], object]] = {
    "Python": lambda path: path.write_bytes(bytes(2**20)),
    "numpy": lambda path: np.save(path, np.zeros(2**17)),
    "one that hides the reason": lambda path: (_fill(path), _raise(RuntimeError("unexpected pos 64 vs 0")))[0],
}


def _fill(path: Path) -> None:
    with pytest.raises(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_told_by_the_name_of_the_file(disk: Path, writer: str) -> None:
    path = disk / "result.npy"
    path.write_text("old")
    with pytest.raises(WriteError, match=f"^{re.escape(str(path))} cannot be written: {FULL}$"), replacing(path) as new:
        WRITERS[writer](new)
    assert path.read_text() == "old"
    assert list(disk.iterdir()) == [path]
    write_bytes(path, bytes(2**17))
    assert path.stat().st_size == 2**17


def test_a_disk_that_fails_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Network file systems tell of a full disk when the file is brought to it."""

    def fail(handle: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    path = tmp_path / "text"
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(WriteError, match=f"text cannot be written: {os.strerror(errno.EDQUOT)}"):
        write_text(path, "new")
    assert list(tmp_path.iterdir()) == []


def test_contents_are_on_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = []

    def note(handle: int) -> None:
        name = Path(f"/proc/self/fd/{handle}").readlink()
        stored.append((name.name, (tmp_path / "data").exists()))

    monkeypatch.setattr(os, "fsync", note)
    with replacing(tmp_path / "data") as partial:
        partial.mkdir()
        (partial / "inside").write_text("1")
    assert stored == [("inside", False), ("data", False), (tmp_path.name, True)]


def test_what_cannot_be_replaced_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(WriteError, match=r"folder cannot be written: "):
        write_text(tmp_path / "folder", "text")
    with pytest.raises(WriteError, match=r"absent/text cannot be written: No such file or directory"):
        write_text(tmp_path / "absent" / "text", "text")


def test_nothing_else_writes_files() -> None:
    """Other code gives contents to the names that ``replacing`` yields, to logs, or to temporary files."""
    told = re.compile(r"\.write_text\(|\.write_bytes\(|\.open\(\"[wa]|torch\.save\(|\.rename\(|savefig\(|np\.savez?\(")
    found = {
        f"{path.relative_to(PACKAGE)}: {match[0]}"
        for path in PACKAGE.rglob("*.py")
        for match in told.finditer(path.read_text(encoding="utf-8"))
        if path != Path(files.__file__)
    }
    assert found == ALLOWED


ALLOWED = {
    "checkpoint/convert.py: torch.save(",
    "freeze/freeze.py: .write_bytes(",
    "freeze/parity_report.py: np.savez(",
    'host/folder_lock.py: .open("a',
    "host/resume.py: torch.save(",
    'ops/native/library.py: .open("a',
    "ops/native/library.py: .write_text(",
    'tools/data/convert.py: .open("w',
    "tools/data/split.py: np.save(",
    "tools/data/writer.py: .write_bytes(",
    "tools/data/writer.py: .write_text(",
    "tools/data/writer.py: np.save(",
    'tools/descriptors/collect.py: .open("w',
    'tools/descriptors/rows.py: .open("w',
    "tools/plots/style.py: savefig(",
    "uncertainty/archive_entry.py: np.savez(",
}
