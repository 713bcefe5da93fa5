"""Systems that are symbolic links count as they do for DeePMD-kit."""

from pathlib import Path

import pytest
from deepmd.common import expand_sys_str

from deepmd_dpa4.cli import main
from deepmd_dpa4.tools.data.errors import DataError
from deepmd_dpa4.tools.data.reader import frames_at, systems
from tests.support.init_command import init
from tests.support.toy import toy_frames, write_system


@pytest.fixture
def chosen(tmp_path: Path) -> Path:
    """A copy without virial, and a link to a system of the store that has other elements and a virial."""
    write_system(tmp_path / "store" / "water", toy_frames(3, seed=1))
    folder = tmp_path / "chosen"
    write_system(folder / "metal", toy_frames(2, seed=0), type_map=("Cu", "Al"), periodic=False)
    (folder / "water").symlink_to("../store/water")
    return folder


def test_those_of_deepmd_kit(chosen: Path) -> None:
    assert sorted(map(str, systems([chosen]))) == sorted(expand_sys_str(chosen))
    (chosen.parent / "name").symlink_to(chosen)
    for folder in (chosen.parent / "name", chosen / "water"):
        assert sorted(map(str, systems([folder]))) == sorted(expand_sys_str(folder))


def test_no_frame_is_lost(chosen: Path, tmp_path: Path) -> None:
    assert main(["data", "convert", str(chosen), "-o", str(tmp_path / "out")]) == 0
    assert len(list(frames_at([tmp_path / "out"]))) == 5
    only_links = tmp_path / "links"
    only_links.mkdir()
    (only_links / "water").symlink_to(chosen / "water")
    assert main(["data", "convert", str(only_links), "-o", str(tmp_path / "out2")]) == 0
    assert len(list(frames_at([tmp_path / "out2"]))) == 3


def test_report(chosen: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(chosen)]) == 0
    assert [line.split()[3] for line in capsys.readouterr().out.splitlines() if "│ frames  " in line] == ["5"]


@pytest.mark.parametrize("task", ["energy", "finetune"])
def test_inputs(task: str, chosen: Path, tmp_path: Path) -> None:
    document = init(tmp_path, "nano", "--task", task, "--data", chosen)
    assert document["model"]["type_map"] == ["H", "O", "Al", "Cu"]
    assert document["loss"]["start_pref_v"] == 5
    document = init(tmp_path, "nano", "--task", task, "--data", chosen / "metal", "--validation", chosen)
    assert document["model"]["type_map"] == ["H", "O", "Al", "Cu"]


def test_what_deepmd_kit_would_not_find_is_named(chosen: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It looks at a link, but not below it."""
    (chosen / "family").symlink_to("../store")
    assert str(chosen / "family" / "water") not in expand_sys_str(chosen)
    assert len(systems([chosen])) == 2, "all of them are there by another way"
    write_system(chosen.parent / "store" / "ice", toy_frames(1, seed=2))
    with pytest.raises(DataError, match=r"chosen/family is a link .* such as .*family/ice, which DeePMD-kit does not"):
        systems([chosen])
    assert main(["init", "nano", "--data", str(chosen), "-o", str(chosen / "input.json")]) == 1
    assert "name that folder too, or link each system" in capsys.readouterr().err


def test_circles_end(chosen: Path) -> None:
    (chosen / "water" / "self").symlink_to(chosen)
    (chosen / "self").symlink_to(chosen)
    (chosen / "broken").symlink_to("nowhere")
    assert len(systems([chosen])) == 2
