"""What each part is worth: variants, their inputs, deviations under rotations, and the page."""

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from deepmd_dpa4.tools.presets.check import check
from tests.support.commands import ROOT

FOLDER = ROOT / "benchmarks" / "accuracy"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts find each other as when they are run."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.syspath_prepend(str(FOLDER.parent))


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


def options(tmp_path: Path, *words: str) -> Any:
    return script("parts").parsed(["--data", str(tmp_path), "--results", str(tmp_path / "parts"), *words])


def test_inputs_differ_in_one_part(tmp_path: Path) -> None:
    """DeePMD-kit takes every input, and no two are the same."""
    parts, folders = script("parts"), script("splits").Folders(tmp_path / "train", tmp_path / "valid")
    written = {}
    for variant, task in parts.tasks(options(tmp_path, "--sets", "si")):
        code = parts.VariantCode(task.code, (task.network,), {}, variant.changes)
        document = code.section(task, folders, 100, 5)
        check(document)
        written[variant.name] = document
    base = written.pop("base")
    assert base["model"]["descriptor"]["use_amp"] is False
    for name, document in written.items():
        before, after = base["model"]["descriptor"], document["model"]["descriptor"]
        changed = [key for key in before | after if before.get(key) != after.get(key)]
        sections = [key for key in base if key != "model" and base[key] != document[key]]
        assert len(changed) == 1 or (name == "muon" and not changed), (name, changed)
        assert bool(sections) == (name == "muon")
    assert "bf16" in written or not torch.cuda.is_available()


def test_both_grids_commute_with_rotations() -> None:
    """To rounding in either precision, alone and in a network; a rule that is too small does not."""
    equivariance, small = script("equivariance"), script("networks").SMALL | {"rcut": 5.0, "channels": 8}
    for lebedev in (True, False):
        assert equivariance.product_error(4, lebedev, torch.float64) < 1e-13
        assert equivariance.product_error(4, lebedev, torch.float32) < 1e-5
        energy, force = equivariance.network_error(2, lebedev, torch.float64, small)
        assert energy < 1e-12 and force < 1e-12


def test_a_coarse_grid_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from deepmd_dpa4.so3 import quadrature
    from deepmd_dpa4.so3.harmonics import lebedev_at_least

    monkeypatch.setattr(quadrature, "lebedev_points", lambda lmax: lebedev_at_least(2 * lmax))
    assert script("equivariance").product_error(4, True, torch.float64) > 1e-4


def test_page(tmp_path: Path) -> None:
    """Variants that were not run are named; ratios need a base."""
    parts, folder = script("parts"), tmp_path / "parts"
    folder.mkdir()
    for name, force in (("base", 50.0), ("sum", 60.0)):
        point = {"step": 900, "seconds": 60.0, "energy_rmse": 1.5, "force_rmse": force}
        record = {
            "task": {"data": "si", "network": f"small-{name}", "clock": "wall", "budget": 60, "batch": 60},
            "machine": {"threads": 1, "cpu": "a processor", "torch": "2", "deepmd-kit": "3"},
            "date": "2026-01-01",
            "parameters": 1234,
            "plan": {"step_s": 0.05},
            "curve": [point],
        }
        (folder / f"si_small-{name}_1.json").write_text(json.dumps(record))
    row = {"lmax": 2, "grid": "Lebedev", "points": 26, "product_fp64": 3e-16, "product_fp32": 1e-7}
    (folder / "equivariance.json").write_text(
        json.dumps(
            {"date": "2026-01-01", "machine": {"cpu": "A", "torch": "2"}, "rows": [row, row | {"grid": "product"}]}
        )
    )
    parts.write_page(folder)
    page = (tmp_path / "parts.md").read_text()
    assert "| attention | sum weighted by the envelope | 1,234 | 50 | 900 | 1.50 | 60.0 |" in page
    assert "| rank | rank 2 |  |  |  | not run | not run |" in page
    assert "| 2 | Lebedev | 26 | 3.0e-16 | 1.0e-07 | - |" in page
    assert (tmp_path / "parts.png").exists()


def test_trainings_need_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        script("parts").parsed(["--only", "training"])
    assert "--data is missing" in capsys.readouterr().err
    assert script("parts").parsed(["--only", "equivariance"]).data is None
