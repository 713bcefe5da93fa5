"""Data for inputs."""

import pytest

from tests.support.runs import Data
from tests.support.toy import toy_frames, write_system


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder, valid = tmp_path_factory.mktemp("data"), toy_frames(3, seed=1)
    return Data(write_system(folder / "train", toy_frames(4, seed=0)), write_system(folder / "valid", valid), valid)
