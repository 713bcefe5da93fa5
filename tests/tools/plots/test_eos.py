"""The equation of state is that of ASE, for a calculator of ASE."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.eos import EquationOfState
from ase.io import write
from ase.units import GPa

from deepmd_dpa4.cli import main
from deepmd_dpa4.inference import evaluator
from tests.support.stub import EmtEvaluator


@pytest.fixture(autouse=True)
def emt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluator, "Evaluator", EmtEvaluator)
    write("cu.vasp", bulk("Cu", "fcc", a=3.65, cubic=True))


def test_same_as_ase(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eos", "model.pt", "cu.vasp", "-o", "e.png", "--strain", "0.08", "--points", "9"]) == 0
    printed = dict(line.split(" = ") for line in capsys.readouterr().out.splitlines() if " = " in line)
    crystal = bulk("Cu", "fcc", a=3.65, cubic=True)
    volumes, energies = [], []
    for factor in np.linspace(0.92, 1.08, 9):
        atoms = crystal.copy()
        atoms.set_cell(crystal.cell * factor ** (1 / 3), scale_atoms=True)
        atoms.calc = EMT()
        volumes.append(atoms.get_volume() / 4)
        energies.append(atoms.get_potential_energy() / 4)
    v0, e0, b0 = EquationOfState(volumes, energies, eos="birchmurnaghan").fit()
    assert float(printed["V0"].split()[0]) == pytest.approx(v0, abs=1e-4)
    assert float(printed["E0"].split()[0]) == pytest.approx(e0, abs=1e-5)
    assert float(printed["B0"].split()[0]) == pytest.approx(b0 / GPa, abs=0.01)
    assert Path("e.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cu.vasp", "--strain", "0.01"], "the lowest of the energies is at 12.035 A^3/atom, the end of the range"),
    ],
)
def test_errors(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eos", "model.pt", *words]) == 1
    assert f"dpa4: error: {message}" in capsys.readouterr().err
    assert not Path("eos.png").exists()
