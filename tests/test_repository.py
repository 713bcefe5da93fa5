"""What the repository holds."""

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
