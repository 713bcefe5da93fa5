"""What is read of the data."""

from pathlib import Path

import numpy as np
import pytest

from deepmd_dpa4.cli import main
from deepmd_dpa4.tools.presets.systems import in_order, read
from tests.support.init_command import init
from tests.support.toy import toy_frames, write_system

MAP = ("H", "C", "O", "Cu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two standard systems, one of them deeper and without virial."""
    write_system(tmp_path / "water", toy_frames(4, seed=0))
    write_system(tmp_path / "deep" / "er", toy_frames(3, seed=0), type_map=("Cu", "Al", "X"), periodic=False)
    return tmp_path


def write_mixed(path: Path) -> Path:
    """A mixed-type system: types for each frame, and places without an atom."""
    write_system(path, toy_frames(2, seed=1), types=(0,) * 6, type_map=MAP)
    np.save(path / "set.000" / "real_atom_types.npy", np.array([[0, 0, 2, 2, 0, -1], [3, 3, 3, 3, -1, -1]]))
    return path


def test_everything_below_a_folder_counts(folder: Path) -> None:
    found = read(folder)
    assert found.elements == {"O", "H", "Cu", "Al"}, "X is a name without an atom"
    assert found.names == {"O", "H", "Cu", "Al", "X"}
    assert found.systems == {folder / "water", folder / "deep" / "er"}
    assert (found.frames, found.labels) == (7, {"energy", "force", "virial", "charge_spin"})
    assert "virial" not in read(folder / "deep").labels


def test_mixed_types(tmp_path: Path) -> None:
    found = read(write_mixed(tmp_path / "mixed"))
    assert found.elements == {"H", "O", "Cu"}
    assert found.mixed == found.systems == {tmp_path / "mixed"}


def test_order() -> None:
    assert in_order({"O", "OW", "H", "Cu", "HW", "C"}) == ("H", "C", "O", "Cu", "HW", "OW")


def test_names_can_be_given(folder: Path) -> None:
    (folder / "water" / "type_map.raw").unlink()
    found = read(folder / "water", ("He", "Li", "Be"))
    assert found.elements == found.names == {"He", "Li"}
    with pytest.raises(ValueError, match="has atoms of type 1, and `--type-map` 1 names"):
        read(folder / "water", ("He",))


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        ("type_map.raw", "type_map.raw is missing"),
        ("type.raw", "there is no file type.raw"),
        ("set.000/coord.npy", "has no coord.npy"),
    ],
)
def test_missing_files_are_named(broken: str, named: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    water = folder / "water"
    (water / broken).unlink()
    assert main(["init", "mini", "--data", str(water), "-o", str(folder / "input.json")]) == 1
    printed = capsys.readouterr().err
    assert f"`--data` is {water} but " in printed
    assert named in printed


def test_types_without_a_name(folder: Path) -> None:
    (folder / "water" / "type_map.raw").write_text("O\n")
    with pytest.raises(ValueError, match=r"has type 1 but .*type_map\.raw names only 1 types"):
        read(folder / "water")


def test_no_pickles(folder: Path) -> None:
    path = folder / "water" / "set.000" / "coord.npy"
    np.save(path, np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"coord\.npy is not an array"):
        read(folder / "water")


def test_an_element_that_the_type_map_lacks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--type-map", "H", "O", "--data", str(folder / "water"), "--validation", str(folder / "deep")]
    assert main(["init", "mini", *words, "-o", str(folder / "input.json")]) == 1
    assert "`--type-map` is 'H O' but `--validation` holds Al Cu too" in capsys.readouterr().err


def test_a_name_that_the_type_map_lacks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DeePMD-kit would refuse it, although no atom has it."""
    words = ["--type-map", "H", "O", "Al", "Cu", "--data", str(folder / "deep")]
    assert main(["init", "mini", *words, "-o", str(folder / "input.json")]) == 1
    printed = capsys.readouterr().err
    assert "must also have X, which no atom of `--data` has but a type_map.raw names" in printed


@pytest.mark.parametrize("task", ["energy", "finetune", "multitask"])
def test_deepmd_kit_takes_the_type_map(task: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of pure metals out of a family of alloys, in every task, in training and validation data."""
    from deepmd.utils.data import DeepmdData

    copper = write_system(folder / "copper", toy_frames(2, seed=0), types=(0,) * 6, type_map=("Cu", "Al"))
    gold = write_system(folder / "gold", toy_frames(2, seed=0), types=(0,) * 6, type_map=("Au", "Pd"))
    mixed = write_mixed(folder / "mixed")
    if task != "multitask":  # a model trains on one format
        np.save(copper / "set.000" / "real_atom_types.npy", np.zeros((2, 6), int))
    words = [f"one={copper}", f"two={mixed}"] if task == "multitask" else [str(copper), str(mixed)]
    valid = f"one={gold}" if task == "multitask" else gold
    document = init(folder, "nano", "--task", task, "--data", *words, "--validation", valid)
    type_map = document["model"].get("shared_dict", document["model"])["type_map"]
    assert type_map == ["H", "C", "O", "Al", "Cu", "Pd", "Au"]
    for system in (copper, gold, mixed):
        DeepmdData(str(system), type_map=type_map)
    assert "types without an atom, which a type_map.raw names: C Al Pd" in capsys.readouterr().err
