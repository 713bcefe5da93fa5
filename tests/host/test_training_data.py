"""Damaged data folders end a training before it begins, with the file named."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepmd_dpa4.host import training_data
from deepmd_dpa4.host.npy_files import DataError, first_bad_frame, read_header
from deepmd_dpa4.host.training_data import BUDGET, Inspection, check_training, check_values
from tests.catalogue.data import Harm, cut, mixed, text, value
from tests.catalogue.desk import array
from tests.host.test_bad_input import complaint
from tests.support import inputs
from tests.support.runs import Data, train
from tests.support.toy import toy_frames, write_system


def config(*folders: Path, valid: Path | None = None, **model: Any) -> dict[str, Any]:
    content = {"model": inputs.model(**model)} | inputs.training(folders[0], valid)
    content["training"]["training_data"]["systems"] = [str(folder) for folder in folders]
    return content


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (array("energy", lambda a: a.astype(object)), "set.000/energy.npy holds Python objects"),
        (array("force", value((4, 11), np.inf)), "set.000/force.npy is not finite (NaN or infinity) in frame 4"),
        (array("coord", value((4, 11), np.nan)), "set.000/coord.npy is not finite (NaN or infinity) in frame 4"),
        (array("box", value((3, 0), np.inf)), "set.000/box.npy is not finite (NaN or infinity) in frame 3"),
        (array("fparam", value((2, 0), np.nan)), "set.000/fparam.npy is not finite (NaN or infinity) in frame 2"),
        (text("type.raw", "0 1 1 0 1 5\n"), "type.raw holds type index 5"),
        (cut, "set.000/force.npy is cut short"),
    ],
    ids=["objects", "infinite", "position", "box", "parameter", "type", "cut"],
)
def test_validation_data_are_looked_through_too(harm: Harm, named: str, data: Data, tmp_path: Path) -> None:
    """Faults of training data are in the catalogue of errors, ``tests/catalogue``."""
    folder = tmp_path / "damaged"
    shutil.copytree(data.train, folder)
    harm(folder)
    with pytest.raises(DataError) as error:
        check_training(config(data.train, valid=folder))
    assert f"{folder}/{named}" in str(error.value)


def test_the_command_ends_with_one_line(data: Data, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(data.train, folder)
    array("force", lambda a: np.array([1.5], dtype=object))(folder)
    message = complaint(config(folder), tmp_path, "--skip-neighbor-stat")
    assert len(message.splitlines()) == 1
    assert "set.000/force.npy holds Python objects" in message


def test_a_branch_of_several_is_named(data: Data, tmp_path: Path) -> None:
    content = inputs.multi_task(data.train)
    folder = tmp_path / "damaged"
    shutil.copytree(data.train, folder)
    (folder / "set.000" / "energy.npy").unlink()
    content["training"]["data_dict"]["two"]["training_data"]["systems"] = [str(folder)]
    message = complaint(content, tmp_path)
    assert "`loss_dict/two/start_pref_e` is 1" in message
    content = inputs.multi_task(data.train)
    content["model"]["shared_dict"]["all"] = ["O", "H", "O"]
    assert "`model/model_dict/one/type_map` repeats 'O'" in complaint(content, tmp_path)


def test_a_log_for_a_missing_package(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would end the training at its first step, after the statistics of the data."""
    monkeypatch.setattr(training_data, "find_spec", lambda name: None)
    section = inputs.training(data.train)
    section["training"]["tensorboard"] = True
    with pytest.raises(DataError, match=r"`training/tensorboard` is true .* pip install tensorboard"):
        check_training({"model": inputs.model()} | section)
    check_training({"model": {"descriptor": inputs.SE_A, "type_map": ["O", "H"]}} | section)
    monkeypatch.setattr(training_data, "find_spec", lambda name: name)
    check_training({"model": inputs.model()} | section)


def test_a_repeated_name(data: Data) -> None:
    content = config(data.train)
    content["model"]["type_map"] = ["O", "H", "H"]
    with pytest.raises(DataError, match=r"`model/type_map` repeats 'H'"):
        check_training(content)


def test_some_folders_without_forces_are_a_warning(
    data: Data, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    energies = tmp_path / "energies"
    shutil.copytree(data.train, energies)
    (energies / "set.000" / "force.npy").unlink()
    with caplog.at_level("WARNING", "deepmd.dpa4"):
        check_training(config(data.train, energies))
    (record,) = caplog.records
    assert "1 of 2 folders of training data have no force.npy" in record.message
    assert str(energies) in record.message


def test_energies_alone_where_forces_have_no_weight(data: Data, tmp_path: Path) -> None:
    energies = tmp_path / "energies"
    shutil.copytree(data.train, energies)
    (energies / "set.000" / "force.npy").unlink()
    content = config(energies)
    content["loss"] |= {"start_pref_f": 0, "limit_pref_f": 0}
    check_training(content)


def charged(default: list[float] | None = None) -> dict[str, Any]:
    section = inputs.model({"add_chg_spin_ebd": True} | ({} if default is None else {"default_chg_spin": default}))
    return {"model": section}


def state(folder: Path, data: Data, *values: float) -> Path:
    """Copy data of which frame 1 has this charge and spin, the others 0 and 1."""
    shutil.copytree(data.train, folder)
    frames = len(np.load(folder / "set.000" / "coord.npy"))
    states = np.tile([0.0, 1.0], (frames, 1))
    states[1] = values
    np.save(folder / "set.000" / "charge_spin.npy", states)
    return folder


@pytest.mark.parametrize("values", [(0.5, 1.0), (1.0, 1.9), (0.0, 0.0), (100.0, 1.0), (-101.0, 2.0), (0.0, 100.0)])
def test_charges_and_spins_that_are_none(values: tuple[float, float], data: Data, tmp_path: Path) -> None:
    folder = state(tmp_path / "charged", data, *values)
    with pytest.raises(
        DataError, match=r"charge_spin.npy holds \[.*\] in frame 1, counted from 0, but must hold an int"
    ):
        check_training(config(folder) | charged())
    check_training(config(folder))  # a model that does not read them


def test_charges_that_are_nearly_integers(data: Data, tmp_path: Path) -> None:
    check_training(config(state(tmp_path / "charged", data, -1.0000001, 1.9999999)) | charged())


def test_charges_that_are_missing(data: Data, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(data.train, bare)
    (bare / "set.000" / "charge_spin.npy").unlink(missing_ok=True)
    folders = (state(tmp_path / "charged", data, 1.0, 2.0), bare)
    with pytest.raises(
        DataError, match=r"`model/descriptor/add_chg_spin_ebd` is true but .*bare has no charge_spin.npy"
    ):
        check_training(config(*folders) | charged())
    check_training(config(*folders) | charged([0, 1]))


def test_mixed_type_among_others(data: Data, tmp_path: Path) -> None:
    """DeePMD-kit ends with an assertion that names none of them."""
    padded = tmp_path / "padded"
    shutil.copytree(data.train, padded)
    mixed([0, 1, 1, 0, 1, -1])(padded)
    with pytest.raises(DataError, match=r"padded is of mixed type .* and .*train is not"):
        check_training(config(data.train, padded))


def test_sound_data_of_all_kinds_pass_without_a_word(
    data: Data, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also one frame without a frame axis, column order, single precision, molecules and padding."""
    single = write_system(tmp_path / "single", toy_frames(1, seed=3))
    for name in ("coord", "energy", "force", "virial", "box"):
        array(name, lambda values: values[0].astype(np.float32))(single)
    column = tmp_path / "column"
    shutil.copytree(data.train, column)
    array("force", np.asfortranarray)(column)
    padded = tmp_path / "padded"
    shutil.copytree(data.train, padded)
    mixed([0, 1, 1, 0, 1, -1])(padded)
    molecule = write_system(tmp_path / "molecule", toy_frames(3, seed=4), periodic=False)
    with caplog.at_level("INFO", "deepmd.dpa4"):
        check_training(config(data.train, single, column, molecule, valid=data.valid))
        check_training(config(padded, valid=data.valid))
        check_training(inputs.multi_task(data.train) | {"model": {"model_dict": {"one": inputs.model()}}})
    assert caplog.records == []


def test_other_models_are_left_to_the_host(data: Data, tmp_path: Path) -> None:
    content = config(data.train)
    content["model"] = {"type_map": ["O", "O"], "descriptor": inputs.SE_A, "fitting_net": {"neuron": [4]}}
    check_training(content)


def test_frames_of_arrays_in_column_order(tmp_path: Path) -> None:
    values = np.zeros((5, 9))
    values[3, 1] = np.nan
    for index, stored in enumerate((values, np.asfortranarray(values), values.reshape(-1), values.astype(np.float16))):
        np.save(tmp_path / f"{index}.npy", stored)
        assert first_bad_frame(read_header(tmp_path / f"{index}.npy"), 5) == 3


def test_sums_that_overflow_are_no_fault(tmp_path: Path) -> None:
    np.save(tmp_path / "large.npy", np.full((4, 3), 3e38, dtype=np.float32))
    assert first_bad_frame(read_header(tmp_path / "large.npy"), 4) is None


def test_large_data_are_not_read_to_the_end(tmp_path: Path) -> None:
    np.save(tmp_path / "energy.npy", np.full(100, np.nan))
    inspection = Inspection(budget=500)
    check_values(read_header(tmp_path / "energy.npy"), 100, inspection)
    assert (inspection.skipped, inspection.budget) == (1, 500)
    assert BUDGET >= 2**30


def test_a_training_with_half_the_forces_runs(data: Data, tmp_path: Path) -> None:
    energies = tmp_path / "energies"
    shutil.copytree(data.train, energies)
    (energies / "set.000" / "force.npy").unlink()
    run = train(tmp_path / "run", config(data.train, energies), "--skip-neighbor-stat")
    assert "have no force.npy" in run.log
