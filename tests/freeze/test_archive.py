"""The graph for several ranks lies where torch's reader does not take it for text and LAMMPS finds it."""

import zipfile
from pathlib import Path

from deepmd_dpa4.freeze.archive import EXTRA, RANKS, ROOT, rearrange


def test_only_the_graph_for_several_ranks_moves(tmp_path: Path) -> None:
    source, target = tmp_path / "model.pt2", tmp_path / "copy.pt2"
    entries = {
        f"{ROOT}/data/a.so": b"\xff\x00",
        f"{EXTRA}/forward_lower_with_comm.pt2": b"\xfe",
        f"{EXTRA}/a.json": b"",
    }
    with zipfile.ZipFile(source, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    rearrange(source, target, {"dpa4.json": "{}"})
    with zipfile.ZipFile(target) as archive:
        found = {entry.filename: archive.read(entry) for entry in archive.infolist()}
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
    moved = entries.pop(f"{EXTRA}/forward_lower_with_comm.pt2")
    assert found == entries | {RANKS: moved, f"{EXTRA}/dpa4.json": b"{}"}
    assert not RANKS.startswith(EXTRA)
    assert RANKS.endswith("/extra/forward_lower_with_comm.pt2")
