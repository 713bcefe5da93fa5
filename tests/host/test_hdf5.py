"""Damaged HDF5 data end a training before it begins, with file and dataset named."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from deepmd_dpa4.host import hdf5
from deepmd_dpa4.host.npy_files import DataError
from deepmd_dpa4.host.training_data import check_training
from tests.support import inputs
from tests.support.runs import Data


def stored(data: Data, path: Path, **changed: np.ndarray) -> Path:
    """The training data as a file of HDF5."""
    with h5py.File(path, "w") as file:
        file["water/type.raw"] = np.loadtxt(data.train / "type.raw", dtype=int)
        for array in (data.train / "set.000").glob("*.npy"):
            file[f"water/set.000/{array.name}"] = changed.get(array.stem, np.load(array))
    return path


def config(path: Path) -> dict[str, Any]:
    return {"model": inputs.model()} | inputs.training(Path(f"{path}#/water"))


def test_sound_files_pass(data: Data, tmp_path: Path) -> None:
    path = stored(data, tmp_path / "data.h5")
    check_training(config(path))
    assert hdf5.check_system(f"{path}#/water", 0) == (0, 8)


@pytest.mark.parametrize("name", ["coord", "force"])
def test_nan_is_named(name: str, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "CHUNK", 40)  # two frames at a time
    values = np.load(data.train / "set.000" / f"{name}.npy")
    values[7, 1] = np.nan
    path = stored(data, tmp_path / "data.h5", **{name: values})
    with pytest.raises(DataError, match=rf"data\.h5#/water/set\.000/{name}\.npy is not finite .* in frame 7,"):
        check_training(config(path))


def test_objects_are_named(data: Data, tmp_path: Path) -> None:
    texts = np.array([b"x"] * 12, dtype=h5py.string_dtype())
    path = stored(data, tmp_path / "data.h5", energy=texts)
    with pytest.raises(DataError, match=r"energy\.npy holds values of type object but must hold numbers"):
        check_training(config(path))


def test_charge_and_spin_are_named(data: Data, tmp_path: Path) -> None:
    """Only for a model that reads them."""
    values = np.load(data.train / "set.000" / "charge_spin.npy")
    values[5] = 0.5, 1
    path = stored(data, tmp_path / "data.h5", charge_spin=values)
    check_training(config(path))
    with pytest.raises(DataError, match=r"charge_spin\.npy holds \[0\.5, 1\.0\] in frame 5, counted from 0, but must"):
        check_training(config(path) | {"model": inputs.model({"add_chg_spin_ebd": True})})
