"""Compiled files give the numbers of the checkpoint, in Python and in LAMMPS on one and two ranks.

Compiling the smallest network takes two minutes, so this is not part of the suite: ``make compiled`` runs it.
"""

import json
import zipfile
from pathlib import Path

import pytest

from deepmd_dpa4.checkpoint.summary import summarize
from tests.support import inputs
from tests.support.commands import BIN, call
from tests.support.lammps import COLUMNS, DYNAMICS, assert_matches, orthogonal, run_lammps
from tests.support.predict import SINGLE, assert_same, difference, predict
from tests.support.runs import Data, Run, train

# of the built-in DPA4 for files of its coming version; 3.2 reads them
pytestmark = pytest.mark.filterwarnings("ignore:This .pt2 uses the deprecated edge_vec:DeprecationWarning")
TINY = {"channels": 4, "n_blocks": 1, "mixing_layers": 1, "use_env_seed": False, "n_atten_head": 0}


@pytest.fixture(scope="module")
def compiled(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Checkpoint, and a compiled file with the name that torch gives to the root of an archive."""
    content = {"model": inputs.model(TINY)} | inputs.training(data.train, steps=20, rate=1e-2)
    run = train(tmp_path_factory.mktemp("compiled"), content)
    printed = call([BIN / "dp", "--pt", "freeze", "-o", "model.pt2"], run.folder, seconds=1800)
    return Run(run.folder, printed)


class TestCompiled:
    def test_it_is_checked_and_says_what_it_is(self, compiled: Run) -> None:
        assert "DeepPot, the graph for several ranks give the same" in compiled.log
        assert "native kernels is about 3 times faster" in compiled.log
        assert "outdated" not in compiled.log
        with zipfile.ZipFile(compiled.folder / "model.pt2") as archive:
            about = json.loads(archive.read("model/extra/dpa4.json"))
        assert (about["kernels"], about["precision"]) == ("plain", "float32")
        assert about["device"] in ("cpu", "cuda")
        summary = summarize(compiled.folder / "model.pt2")
        assert (summary["kind"], summary["frozen"]["device"]) == ("compiled", about["device"])
        assert summary["metadata"]["rcut"] == inputs.SMALL["rcut"]
        assert any("or on several" in use for use in summary["uses"])

    @pytest.mark.parametrize("periodic", [True, False], ids=["periodic", "open"])
    def test_python(self, compiled: Run, data: Data, periodic: bool) -> None:
        expected = predict(compiled.checkpoint, data.frames, periodic=periodic)
        assert_same(predict(compiled.folder / "model.pt2", data.frames, periodic=periodic), expected)

    def test_lammps(self, compiled: Run, tmp_path: Path) -> None:
        box = orthogonal()
        found = run_lammps(tmp_path, compiled.folder / "model.pt2", box, atom_map=True)
        assert_matches(found, predict(compiled.checkpoint, box.frames, box.types), box)

    def test_two_ranks(self, compiled: Run, tmp_path: Path) -> None:
        if not (BIN / "mpiexec").exists():
            pytest.skip("needs the mpich wheel")
        box, model = orthogonal(), compiled.folder / "model.pt2"
        one, two = (
            run_lammps(tmp_path / str(ranks), model, box, atom_map=True, run=DYNAMICS, ranks=ranks) for ranks in (1, 2)
        )
        for name in COLUMNS:
            assert difference(two.thermo[name], one.thermo[name]) < 1e-4, name
        assert difference(two.atoms, one.atoms) < 10 * SINGLE
