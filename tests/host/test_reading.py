"""Frames are read as with threads."""

from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import pytest
from deepmd.pt.utils.dataset import DeepmdDataSetForLoader
from deepmd.utils import data
from deepmd.utils.data import DataRequirementItem

from deepmd_dpa4.host.reading import InTurn, read_in_turn
from tests.support.toy import toy_frames, write_system


def frames_of(system: Path) -> list[dict]:
    dataset = DeepmdDataSetForLoader(str(system), ["O", "H"])
    dataset.add_data_requirement([DataRequirementItem("energy", ndof=1), DataRequirementItem("force", 3, atomic=True)])
    return [dataset[index] for index in range(len(dataset))]


def test_same_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(data, "ThreadPoolExecutor"):
        pytest.skip("this version of DeePMD-kit reads without threads itself")
    system = write_system(tmp_path / "system", toy_frames(3, seed=0))
    monkeypatch.setattr(data, "ThreadPoolExecutor", ThreadPoolExecutor)
    before = frames_of(system)
    read_in_turn()
    assert data.ThreadPoolExecutor is InTurn
    for one, other in zip(before, frames_of(system), strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name], err_msg=name)


def test_errors_come_with_the_result() -> None:
    with InTurn(max_workers=2) as executor:
        futures = [executor.submit(int, word) for word in ("7", "seven")]
        assert set(as_completed(futures)) == set(futures)
        assert futures[0].result() == 7
        with pytest.raises(ValueError, match="seven"):
            futures[1].result()
