"""Options of the test run; data and trained models that tests share, each of which costs about ten seconds."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.support import inputs
from tests.support.commands import dp
from tests.support.runs import Data, Run, train
from tests.support.shared import made_once, shared
from tests.support.toy import toy_frames, write_system


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--other-python",
        help="interpreter of an environment with another version of DeePMD-kit, to exchange files with",
    )
    parser.addoption(
        "--released", action="append", type=Path, help="checkpoint of a released model, to run through all commands"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a graphics card where there is none; of several processes none ends with a slow file."""
    if hasattr(config, "workerinput"):
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a graphics card"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small operations on several threads wait for each other where tests share the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def scripts_run_as_written() -> Iterator[None]:
    """Keep TorchScript from optimising the models of this process, which takes most of its time and memory.

    LAMMPS runs files as they are too, where the native library is; without it they are optimised as by default.
    """
    with torch.jit.optimized_execution(False):
        yield


@pytest.fixture(scope="session", autouse=True)
def traces_are_not_logged() -> None:
    """Keep pytest from storing what torch's tracing writes for its own tools, a sixth of the time of a trace."""
    logging.getLogger("torch.__trace").setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def parallel(request: pytest.FixtureRequest) -> bool:
    """Whether this is one of several processes that run tests."""
    return hasattr(request.config, "workerinput")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, parallel: bool) -> Data:
    valid = toy_frames(5, seed=1)

    def make(folder: Path) -> str:
        write_system(folder / "train", toy_frames(12, seed=0))
        write_system(folder / "valid", valid)
        return ""

    # trainings that processes share name these folders
    folder = made_once(tmp_path_factory, "data", parallel, make)
    return Data(folder / "train", folder / "valid", valid)


@pytest.fixture(scope="session")
def trained(data: Data, tmp_path_factory: pytest.TempPathFactory, parallel: bool) -> Run:
    """Model with all common branches, trained and frozen."""

    def make(folder: Path) -> Run:
        content = {"model": inputs.model(inputs.DESCRIPTOR)} | inputs.training(data.train, data.valid, 60, 5e-3)
        run = train(folder, content, fresh=True)
        dp("freeze", "-o", "model.pth", folder=folder, fresh=True)
        return run

    return shared(tmp_path_factory, "trained", parallel, make)


@pytest.fixture(scope="session", params=[False, True], ids=["concatenated", "film"])
def multi(request: pytest.FixtureRequest, data: Data, tmp_path_factory: pytest.TempPathFactory, parallel: bool) -> Run:
    """Two tasks with shared networks, told apart by either kind of task code."""
    content = inputs.multi_task(data.train, steps=8, rate=5e-3, film=request.param)
    name = "film" if request.param else "concatenated"
    return shared(tmp_path_factory, name, parallel, lambda folder: train(folder, content))
