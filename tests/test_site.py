"""The documentation site builds without a warning, and has every page."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import ROOT, environment

pytestmark = pytest.mark.slow


def test_site(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    site = tmp_path / "site"
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs", ".", str(site)]
    run = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-4000:]
    pages = [page.relative_to(ROOT).with_suffix(".html") for page in (ROOT / "docs").glob("*.md")]
    assert [page for page in pages if not (site / page).exists()] == []
    assert "docs/index.html" in (site / "index.html").read_text()
    interface = (site / "docs" / "api.html").read_text()
    assert all(
        f'id="deepmd_dpa4.{name}"' in interface for name in ("Evaluator", "Structure", "engines.ase.DPA4Calculator")
    )
