"""The files of ``examples/alloy/dpgen``: what DP-GEN reads, and what it makes of them."""

import importlib
import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.io import read

from tests.examples.snippets import shortened
from tests.support.commands import ROOT, dp

FOLDER = ROOT / "examples" / "alloy" / "dpgen"
PARAM = json.loads((FOLDER / "param.json").read_text())
MACHINE = json.loads((FOLDER / "machine.json").read_text())


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The example, beside the data."""
    shutil.copytree(FOLDER, tmp_path / "dpgen")
    (tmp_path / "data").symlink_to(ROOT / "examples" / "alloy" / "data")
    return tmp_path / "dpgen"


def test_simulations_start_from_what_is_written(copy: Path) -> None:
    runpy.run_path(str(copy / "start.py"), run_name="__main__")
    (pattern,) = PARAM["sys_configs"][0]
    found = sorted((copy / PARAM["sys_configs_prefix"]).glob(pattern))
    assert len(found) == 3
    for path in found:
        atoms = read(path, format="vasp")
        assert set(atoms.symbols) == set(PARAM["type_map"]) and len(atoms) == 32


@pytest.mark.filterwarnings("ignore")  # ASE's reader of trajectories leaves its file open
def test_the_labeller(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads and writes the files that `param.json` names, in formats that dpdata reads."""
    dpdata = importlib.import_module("dpdata")
    runpy.run_path(str(copy / "start.py"), run_name="__main__")
    monkeypatch.chdir(copy)
    shutil.copy(copy / "start" / "Cu16Al16.0", PARAM["fp_params"]["input_fn"])
    runpy.run_path("label.py", run_name="__main__")
    labels = PARAM["fp_params"]
    system = dpdata.LabeledSystem(labels["output_fn"], fmt=labels["output_fmt"])
    assert system["forces"].shape == (1, 32, 3) and system["virials"].shape == (1, 3, 3)
    assert np.isfinite(system["energies"]).all()


def test_the_training_input(copy: Path) -> None:
    """DP-GEN adds the systems; the type keeps its rule for `dpa4` from refusing the format `.pth`."""
    model = PARAM["default_training_param"]["model"]
    assert {model["type"], model["descriptor"]["type"]} == {"emfa"}
    content = shortened(json.loads(json.dumps(PARAM["default_training_param"])))
    systems = [str(copy / PARAM["init_data_prefix"] / name) for name in PARAM["init_data_sys"]]
    content["training"]["training_data"]["systems"] = systems
    (copy / "input.json").write_text(json.dumps(content))
    assert "is built by deepmd-dpa4" in dp("train", "input.json", folder=copy)


def test_every_step_has_a_machine() -> None:
    assert {"train", "model_devi", "fp"} <= MACHINE.keys()
    assert len(PARAM["model_devi_jobs"]) == 2


def test_dpgen_accepts_the_files() -> None:
    arguments = pytest.importorskip("dpgen.generator.arginfo", reason="needs dpgen")
    checks = pytest.importorskip("dpgen.generator.run")
    argument = arguments.run_jdata_arginfo()
    argument.check_value(argument.normalize_value(PARAM, trim_pattern="_*"), strict=True)
    checks._validate_dpa_training_config(PARAM)
    other = json.loads(json.dumps(PARAM).replace('"emfa"', '"dpa4"'))
    with pytest.raises(ValueError, match="pt2"):
        checks._validate_dpa_training_config(other)
