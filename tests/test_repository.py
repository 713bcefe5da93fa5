"""What the repository holds."""

import shutil
import subprocess

import pytest

from tests.support.commands import ROOT

pytestmark = pytest.mark.skipif(
    not (ROOT / ".git").exists() or shutil.which("git") is None, reason="this is no checkout of a repository"
)


def test_no_ignored_file_is_tracked() -> None:
    """Results of examples stay out."""
    command = ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert listing.splitlines() == []
