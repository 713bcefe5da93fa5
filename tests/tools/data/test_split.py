"""Validation data: every frame on one side, with all its arrays, and units that stay together."""

from pathlib import Path

import numpy as np
import pytest
from ase.io import write

from deepmd_dpa4.cli import main
from deepmd_dpa4.tools.data.errors import DataError
from deepmd_dpa4.tools.data.reader import frames_at
from deepmd_dpa4.tools.data.split import Splitter, Unit
from tests.support.structures import crystals
from tests.support.toy import toy_frames, write_system


def energies(folder: Path) -> list[float | None]:
    return [frame.energy for frame in frames_at([folder])]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two systems of 20 and 12 frames."""
    write_system(tmp_path / "data" / "water", toy_frames(20, seed=1))
    write_system(tmp_path / "data" / "deep" / "metal", toy_frames(12, seed=2), type_map=("Cu", "Al"), periodic=False)
    return tmp_path / "data"


def split(*words: object) -> int:
    return main(["data", "split", *map(str, words)])


def test_every_frame_is_on_one_side(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert split(data, "-o", out, "--valid-fraction", 0.25) == 0
    assert capsys.readouterr().out == f"24 frames in {out}/train, 8 frames in {out}/valid; 32 units by frame\n"
    sides = energies(out / "train"), energies(out / "valid")
    assert [len(side) for side in sides] == [24, 8]
    assert sorted(sides[0] + sides[1]) == sorted(energies(data))
    assert {path.relative_to(out / "valid") for path in (out / "valid").rglob("type.raw")} == {
        Path("water/type.raw"),
        Path("deep/metal/type.raw"),
    }
    assert (out / "valid" / "deep" / "metal" / "nopbc").exists()


def test_all_arrays_keep_their_rows(data: Path, tmp_path: Path) -> None:
    split(data / "water", "-o", tmp_path / "out")
    whole = data / "water" / "set.000"
    for side in ("train", "valid"):
        part = tmp_path / "out" / side / "water" / "set.000"
        names = {file.name for file in whole.glob("*.npy")}
        assert {file.name for file in part.glob("*.npy")} == names
        rows = [
            int(np.flatnonzero(np.load(whole / "energy.npy") == value)[0]) for value in np.load(part / "energy.npy")
        ]
        for name in names:
            array = np.load(whole / name)
            np.testing.assert_array_equal(np.load(part / name), array.reshape(len(array), -1)[rows], err_msg=name)


def test_the_seed_decides(data: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        split(data, "-o", tmp_path / name, "--seed", seed)
    one, same, other = (energies(tmp_path / name / "valid") for name in "abc")
    assert one == same != other


def test_blocks_and_systems_stay_together(data: Path, tmp_path: Path) -> None:
    split(data, "-o", tmp_path / "blocks", "--split-by", "block:4", "--valid-fraction", 0.25)
    known = energies(data / "water")
    inside = {known.index(value) // 4 for value in energies(tmp_path / "blocks" / "valid" / "water")}
    assert len(energies(tmp_path / "blocks" / "valid" / "water")) == 4 * len(inside)
    for unit in ("source", "composition"):
        split(data, "-o", tmp_path / unit, "--split-by", unit, "--valid-fraction", 0.5)
        assert sorted(path.name for path in (tmp_path / unit).glob("*/**/") if (path / "type.raw").exists()) == [
            "metal",
            "water",
        ]


def test_fractions_hold_for_any_number() -> None:
    splitter = Splitter(0.1)
    assert sum(splitter.side(number) == "valid" for number in range(1000)) == 100
    uneven = Splitter(0.15, seed=3)
    assert abs(sum(uneven.side(number) == "valid" for number in range(1000)) - 150) <= 1


def test_conversion_by_value_of_the_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = crystals(12)
    for number, atoms in enumerate(frames):
        atoms.info["run"] = f"run{number // 3}"
    write(tmp_path / "all.xyz", frames)
    words = ["data", "convert", str(tmp_path / "all.xyz"), "--valid-fraction", "0.5", "--split-by"]
    assert main([*words, "key:run", "-o", str(tmp_path / "out")]) == 0
    assert "6 frames in" in capsys.readouterr().out
    known = [atoms.get_potential_energy() for atoms in frames]
    runs = [
        {int(np.argmin(np.abs(np.subtract(known, value)))) // 3 for value in energies(tmp_path / "out" / side)}
        for side in ("train", "valid")
    ]
    assert not runs[0] & runs[1] and runs[0] | runs[1] == {0, 1, 2, 3}
    assert (tmp_path / "out" / "problems.csv").exists()
    assert main([*words, "key:walk", "-o", str(tmp_path / "none")]) == 1
    assert "`--split-by` is key:walk but" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--valid-fraction", "0.7"), "`--valid-fraction` is 0.7 but must be above 0 and at most 0.5"),
        (
            ("--split-by", "atoms"),
            "is 'atoms' but must be frame, block:N, source, composition, key:NAME or each:NAME",
        ),
        (("--split-by", "key:run"), "DeePMD folders name no values"),
        (("--split-by", "source", "--seed", "1"), "makes 2 units of these data, and none of them is for valid"),
    ],
)
def test_what_cannot_be_split(
    words: tuple[str, ...], told: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert split(data, "-o", tmp_path / "out", *words) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_no_output_among_the_data(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The systems of the second folder would have been looked for after those of the first were written into it."""
    before = sorted(data.rglob("*"))
    assert split(data / "water", data / "deep", "-o", data / "deep" / "out") == 1
    assert f"`--output` is {data}/deep/out, inside of {data}/deep, which is split" in capsys.readouterr().err
    assert sorted(data.rglob("*")) == before


def test_a_name_twice(data: Path, tmp_path: Path) -> None:
    write_system(tmp_path / "other" / "water", toy_frames(5, seed=3))
    assert split(data / "water", tmp_path / "other" / "water", "-o", tmp_path / "out") == 1
    assert split(data, tmp_path / "other", "-o", tmp_path / "out") == 0


def test_a_unit_of_a_wrong_length() -> None:
    with pytest.raises(DataError, match="block:N"):
        Unit.parse("block:0")


def test_the_same_part_of_every_value(tmp_path: Path) -> None:
    frames = crystals(30)
    for number, atoms in enumerate(frames):
        atoms.info["kind"] = "rare" if number < 10 else "common"
    write(tmp_path / "all.xyz", frames)
    words = ["data", "convert", str(tmp_path / "all.xyz"), "--valid-fraction", "0.1", "--split-by", "each:kind"]
    assert main([*words, "-o", str(tmp_path / "out")]) == 0
    known = [atoms.get_potential_energy() for atoms in frames]
    chosen = [int(np.argmin(np.abs(np.subtract(known, value)))) for value in energies(tmp_path / "out" / "valid")]
    assert [number < 10 for number in sorted(chosen)] == [True, False, False]
