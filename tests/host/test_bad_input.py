"""Each mistake gives one error that names the option or file and the value."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import inputs
from tests.support.commands import dp
from tests.support.predict import deep_pot
from tests.support.runs import Data, Run
from tests.support.toy import TYPES, Frames, write_system


def complaint(content: inputs.Section, folder: Path, *arguments: str) -> str:
    """The error that ends a training, without the trace above it."""
    name = inputs.write(folder, content)
    printed = dp("train", name, *arguments, folder=folder, fails=True)
    lines = printed.rstrip().splitlines()
    start = max((i for i, line in enumerate(lines) if line.startswith((" ", "Traceback"))), default=-1)
    return "\n".join(lines[start + 1 :])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"n_blocks": "three"}, "`model/descriptor/n_blocks` is 'three' but must be an integer"),
        (
            {"mixing_layer": 3},
            "`model/descriptor/mixing_layer` is not an option of DPA4; did you mean `mixing_layers`?",
        ),
    ],
    ids=["value", "name"],
)
def test_a_wrong_option_ends_the_training(options: dict[str, Any], named: str, data: Data, tmp_path: Path) -> None:
    """All options are in the catalogue of errors, ``tests/catalogue``."""
    content = {"model": inputs.model(options)} | inputs.training(data.train)
    assert complaint(content, tmp_path, "--skip-neighbor-stat").endswith(named)


def test_fewer_types_than_the_data(data: Data, tmp_path: Path) -> None:
    """Without ``type_map.raw`` the numbers of the data are indices into the type map of the model."""
    folder = tmp_path / "numbers"
    shutil.copytree(data.train, folder)
    (folder / "type_map.raw").unlink()
    section = inputs.model() | {"type_map": ["O"]}
    message = complaint({"model": section} | inputs.training(folder), tmp_path)
    assert "type index 1" in message
    assert "type_map" in message


def damaged(data: Data, folder: Path, **arrays: np.ndarray) -> Path:
    target = folder / "damaged"
    shutil.copytree(data.train, target)
    for name, value in arrays.items():
        np.save(target / "set.000" / f"{name}.npy", value)
    return target


@pytest.mark.parametrize("skip", [(), ("--skip-neighbor-stat",)], ids=["statistics", "no statistics"])
class TestBadFrames:
    def test_nan_coordinates(self, data: Data, skip: tuple[str, ...], tmp_path: Path) -> None:
        coord = np.load(data.train / "set.000" / "coord.npy")
        coord[:, 4] = np.nan
        system = damaged(data, tmp_path, coord=coord)
        message = complaint({"model": inputs.model()} | inputs.training(system), tmp_path, *skip)
        assert "coord" in message
        assert "nan" in message.lower()

    def test_cell_without_volume(self, data: Data, skip: tuple[str, ...], tmp_path: Path) -> None:
        box = np.load(data.train / "set.000" / "box.npy")
        box[:, 6:] = box[:, 3:6]
        system = damaged(data, tmp_path, box=box)
        message = complaint({"model": inputs.model()} | inputs.training(system), tmp_path, *skip)
        assert "box" in message
        assert "volume" in message or "invertible" in message


def test_system_without_atoms(tmp_path: Path) -> None:
    nothing, cells = np.zeros((2, 0, 3)), np.tile(np.eye(3) * 6, (2, 1, 1))
    empty = Frames(nothing, cells, np.zeros(2), nothing, np.zeros((2, 9)))
    system = write_system(tmp_path / "empty", empty, types=())
    assert complaint({"model": inputs.model()} | inputs.training(system), tmp_path)


@pytest.mark.parametrize("kind", ["checkpoint", "frozen"])
class TestInference:
    def test_nan_coordinates(self, trained: Run, data: Data, kind: str) -> None:
        coord = data.frames.coord[:1].copy()
        coord[0, 0, 0] = np.nan
        with pytest.raises(Exception, match=r"(?i)nan"):
            deep_pot(getattr(trained, kind)).eval(coord, data.frames.cell[0].reshape(1, 9), list(TYPES))

    def test_cell_without_volume(self, trained: Run, data: Data, kind: str) -> None:
        cell = data.frames.cell[:1].copy()
        cell[0, 2] = cell[0, 1]
        with pytest.raises(Exception, match=r"volume|invertible"):
            deep_pot(getattr(trained, kind)).eval(data.frames.coord[:1], cell.reshape(1, 9), list(TYPES))

    def test_type_beyond_the_type_map(self, trained: Run, data: Data, kind: str) -> None:
        with pytest.raises(Exception, match=r"type|index|range"):
            deep_pot(getattr(trained, kind)).eval(data.frames.coord[:1], None, [0, 1, 2, 0, 1, 1])

    def test_no_atoms(self, trained: Run, kind: str) -> None:
        energy, force, virial = deep_pot(getattr(trained, kind)).eval(np.zeros((1, 0)), None, [])[:3]
        assert energy.tolist() == [[0.0]]
        assert force.shape == (1, 0, 3)
        assert virial.tolist() == [[0.0] * 9]


def test_missing_data_of_a_condition(data: Data, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    shutil.copytree(data.train, folder)
    (folder / "set.000" / "fparam.npy").unlink()
    content = {"model": inputs.model(fitting={"numb_fparam": 1})} | inputs.training(folder)
    assert "fparam" in complaint(content, tmp_path, "--skip-neighbor-stat")
