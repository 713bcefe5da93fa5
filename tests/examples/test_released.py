"""Checkpoints of released models, where their files are given: ``pytest --released FILE``."""

import json
import sys
from pathlib import Path

import pytest

from tests.support.commands import ROOT, call


def test_released_models(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """All commands run and the numbers are those of DeePMD-kit."""
    files = request.config.getoption("--released")
    if not files:
        pytest.skip("needs files of released models: --released FILE")
    output = tmp_path / "released.json"
    call([sys.executable, ROOT / "benchmarks" / "released.py", *files, "-o", output], tmp_path, seconds=3600)
    assert len(json.loads(output.read_text())["files"]) == len(files)
