"""The package installs beside others of the field."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import ROOT

OLD_E3NN = "0.4.4"
"""What mace-torch pins."""


@pytest.mark.slow
def test_pip_resolves_beside_mace(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", report]
    run = subprocess.run([*command, ROOT, "mace-torch==0.3.16"], capture_output=True, text=True, check=False)
    if "No matching distribution found for mace-torch" in run.stderr:
        pytest.skip("needs a package index")
    assert run.returncode == 0, run.stderr[-3000:]
    found = {
        entry["metadata"]["name"]: entry["metadata"]["version"] for entry in json.loads(report.read_text())["install"]
    }
    assert found["e3nn"] == OLD_E3NN
    assert {"deepmd-dpa4", "deepmd-kit", "mace-torch"} <= set(found)
