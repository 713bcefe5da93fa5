"""Elements in a type map that the training data lacked: frozen files are not judged by them, users are warned."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deepmd_dpa4.checkpoint.trained_elements import trained_types, untrained_elements
from deepmd_dpa4.config.elements import ELEMENTS
from deepmd_dpa4.freeze.freeze import freeze
from deepmd_dpa4.freeze.verify import reference_of
from deepmd_dpa4.host.element_warnings import untrained_of
from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.inference.structure import Structure
from tests.support import inputs
from tests.support.commands import lammps
from tests.support.lammps import triclinic, write_box
from tests.support.predict import deep_pot
from tests.support.runs import Data, Run, train

WARNING = "had no training data with"


def test_the_list_of_the_training_decides_first() -> None:
    params = {"type_map": ["He", "H", "O"], "info": {"observed_type": ["O"]}}
    assert trained_types(params, [0.0, -1.0, -2.0]) == [2]
    assert untrained_elements(params, [0.0, -1.0, -2.0]) == ["He", "H"]


def test_a_bias_of_zero_tells_too() -> None:
    params = {"type_map": ["He", "H", "O"]}
    assert untrained_elements(params, [-2.8e-14, -1.0, -2.0]) == ["He"]
    assert untrained_elements(params, [0.0, 0.0, 0.0]) == []


def test_a_file_without_the_list_opens() -> None:
    """DPA3 files of DeePMD-kit 3.0 lack the method."""
    potential = SimpleNamespace(
        get_model_def_script=dict,
        get_type_map=lambda: ["H", "O"],
        dp=SimpleNamespace(model={"Default": SimpleNamespace()}),
    )
    assert untrained_of("old.pth", potential).elements == set()


@pytest.fixture(scope="module")
def everything(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on O and H with all elements in the type map; weights of the others were drawn too large to be useful."""
    section = inputs.model() | {"type_map": list(ELEMENTS)}
    run = train(tmp_path_factory.mktemp("everything"), {"model": section} | inputs.training(data.train, None, 3, 1e-3))
    content = torch.load(run.checkpoint, weights_only=True)
    assert sorted(content["model"]["_extra_state"]["model_params"]["info"]["observed_type"]) == ["H", "O"]
    table = content["model"]["model.Default.atomic_model.descriptor.type_embedding.adam_type_embedding"]
    others = [index for index, symbol in enumerate(ELEMENTS) if symbol not in ("O", "H")]
    table[others] *= 1e4
    path = run.folder / "model.pt"
    torch.save(content, path)
    return path


@pytest.mark.parametrize("told", ["by the list", "by the bias"])
def test_freezing_judges_trained_elements(
    everything: Path, told: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = everything
    if told == "by the bias":
        content = torch.load(everything, weights_only=True)
        del content["model"]["_extra_state"]["model_params"]["info"]
        checkpoint = tmp_path / "old.pt"
        torch.save(content, checkpoint)
    with caplog.at_level("INFO", "deepmd.dpa4"):
        freeze(str(checkpoint), str(tmp_path / "model.pth"))
    assert "116 of its 118 elements had no training data: He Li" in caplog.text
    model = deep_pot(checkpoint).deep_eval.dp.model["Default"]
    oxygen, hydrogen = ELEMENTS.index("O"), ELEMENTS.index("H")
    assert {int(t) for s in reference_of(model).structures for t in s.types} == {oxygen, hydrogen}


def test_python_warns_once(everything: Path, caplog: pytest.LogCaptureFixture) -> None:
    potential = deep_pot(everything)
    coord, types = np.array([[[0.0, 0, 0], [0, 0, 1]]]), [ELEMENTS.index("O"), ELEMENTS.index("He")]
    potential.eval(coord, None, [types[0], types[0]])
    assert WARNING not in caplog.text
    potential.eval(coord, None, types)
    potential.eval(coord, None, types)
    assert caplog.text.count(f"{WARNING} He") == 1
    potential.eval(coord, None, [types[1], ELEMENTS.index("Ne")])
    assert caplog.text.count(f"{WARNING} Ne") == 1


def test_every_way_in_python_warns(everything: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    from ase import Atoms

    from deepmd_dpa4.engines.ase import DPA4Calculator

    freeze(str(everything), str(tmp_path / "model.pth"))
    for number, file in enumerate((everything, tmp_path / "model.pth"), start=1):
        Evaluator(file).evaluate([Structure(["O", "Xe"], [[0, 0, 0], [0, 0, 2]])])
        assert caplog.text.count(f"{WARNING} Xe") == number
        Atoms("OKr", [[0, 0, 0], [0, 0, 2.0]], calculator=DPA4Calculator(file)).get_potential_energy()
        assert caplog.text.count(f"{WARNING} Kr") == number
        deep_pot(file).eval(np.array([[[0.0, 0, 0]]]), None, [ELEMENTS.index("Rn")])
        assert caplog.text.count(f"{WARNING} Rn") == number


def test_lammps_warns_at_its_first_evaluation(everything: Path, tmp_path: Path) -> None:
    freeze(str(everything), str(tmp_path / "model.pth"))
    write_box(tmp_path / "box.data", triclinic())
    script = (
        "units metal\natom_style atomic\nbox tilt large\nread_data box.data\nmass 1 16\nmass 2 1\n"
        "pair_style deepmd model.pth\npair_coeff * * {}\nrun 2\n"
    )
    assert WARNING not in lammps(script.format("O H"), tmp_path)
    assert lammps(script.format("O He"), tmp_path).count(f"{WARNING} He") == 1


def test_a_model_of_its_elements_has_nothing_to_warn_of(trained: Run, caplog: pytest.LogCaptureFixture) -> None:
    for file in (trained.checkpoint, trained.frozen):
        assert Evaluator(file).untrained.elements == set()
    assert json.loads(deep_pot(trained.frozen).deep_eval.dp.model["Default"].get_model_def_script())
