"""The pretraining example, made short."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase.io import read

from tests.examples.snippets import blocks, copy_examples, run_block
from tests.support.commands import BIN, ROOT, call

EXAMPLE = ROOT / "examples" / "pretraining"


@pytest.mark.slow
def test_example(tmp_path: Path) -> None:
    """Trains twice, with as many steps of the small branch, and prints errors of every branch."""
    folder = copy_examples(tmp_path).parent / "pretraining"
    (folder / "pretraining.png").unlink()
    (commands,) = blocks(folder / "README.md", "sh")
    (printed,) = run_block(commands, folder, ("--steps", "10", "--frames", "4"))
    lines = [line.replace("│", " ").split() for line in printed.splitlines() if "valid " in line]
    assert [line[:2] for line in lines] == [
        *(["together", branch] for branch in ("gfn1", "gfn1", "emt", "gfn2")),
        ["alone", "gfn2"],
    ]
    assert all(float(value) > 0 for line in lines for value in line[3:7])
    assert (folder / "pretraining.png").stat().st_size > 1000
    results = folder / "results"
    inputs = {name: json.loads((results / name / "input.json").read_text()) for name in ("together", "alone")}
    probabilities = inputs["together"]["training"]["model_prob"]
    steps = round(10 * probabilities["gfn2"] / sum(probabilities.values()))
    assert inputs["alone"]["training"]["numb_steps"] == steps
    for name, models in (("together", 3), ("alone", 1)):
        assert (results / f"{name}-dp.log").read_text().count("is built by deepmd-dpa4") == models


def test_data_are_what_the_script_makes(tmp_path: Path) -> None:
    """Structures exactly, labels to what the method converges to; no structure comes twice."""
    pytest.importorskip("tblite", reason="needs tblite (extra `examples`)")
    call([BIN / "python", EXAMPLE / "generate.py", "--output", tmp_path], tmp_path)
    seen = set()
    for name, frames in (("gfn1-train", 4), ("gfn1-valid", 1), ("gfn2-train", 1), ("gfn2-valid", 4)):
        made, stored = (read(path / f"{name}.xyz", ":") for path in (tmp_path, EXAMPLE / "molecules"))
        assert len(made) == len(stored) == frames * 49
        for new, old in zip(made, stored, strict=True):
            assert str(new.symbols) == str(old.symbols)
            np.testing.assert_allclose(new.positions, old.positions, atol=1e-7)
            np.testing.assert_allclose(new.get_forces(), old.get_forces(), atol=1e-4)
            assert new.get_potential_energy() == pytest.approx(old.get_potential_energy(), abs=1e-4)
        before = len(seen)
        seen |= {atoms.positions.tobytes() for atoms in stored}
        assert len(seen) == before + len(stored)
