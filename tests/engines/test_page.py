"""The snippets of ``docs/engines.md`` run."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engines.test_ase import alloy_cell
from tests.examples.snippets import blocks, run_block
from tests.support.commands import ROOT

PAGE = ROOT / "docs" / "engines.md"


@pytest.fixture
def folder(alloy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a model."""
    shutil.copy(alloy, tmp_path / "model.pt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(about: str) -> dict[str, Any]:
    """Run the only Python block that contains a text; returns its variables."""
    (text,) = [block for block in blocks(PAGE, "python") if about in block]
    names: dict[str, Any] = {}
    exec(compile(text, PAGE.name, "exec"), names)
    return names


def test_there_are_no_other_snippets() -> None:
    assert [len(blocks(PAGE, language)) for language in ("python", "sh", "xml")] == [5, 1, 1]
    assert PAGE.read_text().count("```") == 14


@pytest.mark.usefixtures("folder")
def test_many_structures(capsys: pytest.CaptureFixture[str]) -> None:
    run("Evaluator(")
    assert len(capsys.readouterr().out.strip()) > 100


@pytest.mark.usefixtures("folder")
def test_ase() -> None:
    assert np.isfinite(run("FrechetCellFilter")["atoms"].get_stress()).all()


@pytest.mark.usefixtures("folder")
def test_a_molecule(capsys: pytest.CaptureFixture[str]) -> None:
    """Six of its frequencies are those of a rigid body."""
    names = run("CuAl2")
    molecule = names["molecule"]
    frequencies = molecule.calc.get_vibrations(molecule).get_frequencies()
    assert len(frequencies) == 9 and "j" in capsys.readouterr().out
    # turning is free where the forces are zero
    assert np.sort(np.abs(frequencies))[:3].max() < 1e-2 * np.abs(frequencies).max()


@pytest.mark.usefixtures("folder")
def test_torchsim() -> None:
    pytest.importorskip("torch_sim", reason="needs torch-sim (extra `torchsim`, Python 3.11 or newer)")
    assert run("torch_sim")["state"].energy.shape == (2,)


def test_ipi(folder: Path) -> None:
    pytest.importorskip("ipi", reason="needs i-PI (extra `ipi`)")
    from deepmd_dpa4.engines import ipi_driver
    from tests.engines.test_ipi import simulate, triangular

    (command,), (forcefield,) = blocks(PAGE, "sh"), blocks(PAGE, "xml")
    (path,) = run_block(command, folder)
    assert path.strip() == ipi_driver.__file__
    work = folder / "run"
    forcefield = forcefield.replace("PATH", path.strip()).replace("model.pt", str(folder / "model.pt"))
    assert np.isfinite(simulate(work, triangular(alloy_cell()), forcefield)).all()


@pytest.mark.usefixtures("folder")
def test_phonopy() -> None:
    """Acoustic modes vanish at Gamma, and the force constants are those of the energy."""
    pytest.importorskip("phonopy", reason="needs phonopy (extra `phonons`)")
    names = run("Phonopy(")
    (frequencies,) = names["phonons"].band_structure.frequencies
    assert np.abs(frequencies[0]).max() < 1e-3 * np.abs(frequencies).max()
    copper, step = names["phonons"].supercell, 0.01
    constants = names["phonons"].force_constants
    atoms = names["Atoms"](copper.symbols, copper.positions, cell=copper.cell, pbc=True)
    atoms.calc = names["calculator"]
    energies = []
    for move in (-step, 0.0, step):
        atoms.positions[0] = copper.positions[0] + [move, 0, 0]
        energies.append(atoms.get_potential_energy())
    assert constants[0, 0, 0, 0] == pytest.approx((energies[0] - 2 * energies[1] + energies[2]) / step**2, rel=0.05)
