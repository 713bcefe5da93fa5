"""What the repository holds."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deepmd_dpa4.ops.native.build import SOURCES
from tests.support.commands import ROOT

pytestmark = pytest.mark.skipif(
    not (ROOT / ".git").exists() or shutil.which("git") is None, reason="this is no checkout of a repository"
)

CLANG_FORMAT = Path(sys.executable).with_name("clang-format")
"""Of the extra ``dev``, because other versions format otherwise."""
NAMED = re.compile(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|h|cpp|toml))`")
"""A source file in a page, with its folder."""
ABOVE = (ROOT, ROOT / "deepmd_dpa4", ROOT / "benchmarks", SOURCES)
"""Folders that pages name files from."""
OTHERS = ("deepmd/", "matbench_discovery/")
"""Folders of other packages."""


def test_pages_name_files_that_are_there() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
    named = {(page.name, name) for page in pages for name in NAMED.findall(page.read_text())}
    own = {(page, name) for page, name in named if not name.startswith(OTHERS)}
    assert len(own) > 20
    missing = [pair for pair in sorted(own) if not any((folder / pair[1]).exists() for folder in ABOVE)]
    assert missing == []


def test_no_ignored_file_is_tracked() -> None:
    """Results of examples stay out."""
    command = ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert listing.splitlines() == []


@pytest.mark.skipif(not CLANG_FORMAT.exists(), reason="needs clang-format")
def test_sources_of_native_kernels_are_formatted() -> None:
    """Mended by ``clang-format -i``."""
    files = [path for path in SOURCES.rglob("*") if path.suffix in (".cpp", ".h")]
    run = subprocess.run([CLANG_FORMAT, "--dry-run", "-Werror", *files], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
