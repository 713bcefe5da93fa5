"""The recipes of ``docs/workflows.md`` run where their package is installed."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator

from deepmd_dpa4.engines.ase import DPA4Calculator
from deepmd_dpa4.freeze.freeze import freeze
from tests.examples.snippets import blocks
from tests.support.commands import ROOT, lammps
from tests.support.predict import difference

# packages of others warn of one another
pytestmark = pytest.mark.filterwarnings("ignore")
PAGE = ROOT / "docs" / "workflows.md"
COPPER = bulk("Cu", a=3.6, cubic=True)


@pytest.fixture(scope="module")
def frozen(alloy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("frozen") / "model.pth"
    freeze(str(alloy), str(path))
    return path


@pytest.fixture
def folder(frozen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a frozen model."""
    shutil.copy(frozen, tmp_path / "model.pth")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(about: str) -> dict[str, Any]:
    """Run the only Python block that contains a text; returns its variables."""
    (text,) = [block for block in blocks(PAGE, "python") if about in block]
    names: dict[str, Any] = {"MODEL": str(Path("model.pth").resolve())}
    exec(compile(text, PAGE.name, "exec"), names)
    return names


def ours(folder: Path) -> Calculator:
    atoms = COPPER.copy()
    atoms.calc = DPA4Calculator(folder / "model.pth")
    atoms.get_potential_energy(), atoms.get_stress()
    return atoms.calc


def test_there_are_no_other_recipes() -> None:
    assert [len(blocks(PAGE, language)) for language in ("python", "text")] == [7, 2]
    assert PAGE.read_text().count("```") == 18


def test_second_derivatives(folder: Path) -> None:
    found = run("second_derivatives(")["found"]
    assert np.linalg.eigvalsh(found.elastic_constants(relaxed=False)).size == 6


def test_second_derivatives_in_ase(folder: Path) -> None:
    """The constants are those of the cubic class."""
    names = run("get_hessian")
    constants = names["calculator"].get_elastic_constants(names["copper"], relaxed=False)
    assert np.abs(constants[:3, :3] - constants[:3, :3].T).max() < 1e-9
    assert np.ptp(np.diag(constants)[:3]) < 1e-6 * np.abs(constants).max()
    assert np.ptp(np.diag(constants)[3:]) < 1e-6 * np.abs(constants).max()
    assert np.abs(constants[:3, 3:]).max() < 1e-6 * np.abs(constants).max()
    assert len(names["vibrations"].get_frequencies()) == 12


def test_phono3py(folder: Path) -> None:
    """Force constants of second order are those of the Hessian of the supercell."""
    pytest.importorskip("phono3py", reason="needs phono3py")
    phonons = run("Phono3py(")["phonons"]
    cell = phonons.supercell
    exact = DPA4Calculator("model.pth").get_hessian(
        bulk("Cu", a=3.6).__class__(cell.symbols, cell.positions, cell=cell.cell, pbc=True)
    )
    exact = exact.reshape(8, 3, 8, 3).transpose(0, 2, 1, 3)
    # it keeps the rows of the atoms of the primitive cell
    assert difference(np.asarray(phonons.fc2), exact[:1]) < 0.02
    assert phonons.fc3.shape == (1, 8, 8, 3, 3, 3) and np.isfinite(phonons.fc3).all()


def test_matcalc(folder: Path) -> None:
    """Its constants are the derivatives of the stress: ours, and terms of the pressure that is left."""
    pytest.importorskip("matcalc", reason="needs matcalc")
    found = run("load_deepmd")["result"]["elastic_tensor"].voigt
    calculator = ours(folder)
    tension = calculator.results["stress"][0]
    expected = calculator.get_elastic_constants(COPPER, relaxed=False)
    expected += tension * (np.eye(6) - np.pad(np.ones((3, 3)) - np.eye(3), (0, 3)))
    assert difference(found, expected) < 0.02


def test_janus_core(folder: Path) -> None:
    pytest.importorskip("janus_core", reason="needs janus-core")
    results = run("SinglePoint(")["run"].results
    assert results["energy"] == pytest.approx(ours(folder).results["energy"], rel=1e-9)


def test_atomate2(folder: Path) -> None:
    pytest.importorskip("atomate2", reason="needs atomate2 and jobflow")
    atoms = bulk("Cu", a=3.6)
    atoms.calc = DPA4Calculator("model.pth")
    energies = np.array(run("ForceFieldStaticMaker(")["energies"])
    assert energies[0] == pytest.approx(energies[1], rel=1e-9)
    assert energies % atoms.get_potential_energy() == pytest.approx(0.0, abs=1e-6)


def test_dispersion_in_ase(folder: Path) -> None:
    dftd3 = pytest.importorskip("dftd3.ase", reason="needs dftd3")
    atoms = run("SumCalculator(")["atoms"]
    alone = COPPER.copy()
    alone.calc = dftd3.DFTD3(method="PBE", damping="d3bj")
    expected = ours(folder).results["energy"] + alone.get_potential_energy()
    assert abs(alone.get_potential_energy()) > 0.1
    assert atoms.get_potential_energy() == pytest.approx(expected, rel=1e-9)


def test_dispersion_in_lammps(folder: Path) -> None:
    """Energies and forces of the sum are sums."""
    (pair,) = [block for block in blocks(PAGE, "text") if "hybrid/overlay" in block]
    parts = {
        "both": pair,
        "model": "pair_style deepmd model.pth\npair_coeff * * Cu Al\n",
        "dispersion": "pair_style dispersion/d3 bj pbe 30.0 20.0\npair_coeff * * Cu Al\n"
        + pair.splitlines()[-1]
        + "\n",
    }
    atoms = COPPER.copy()
    atoms.symbols[1] = "Al"
    atoms.rattle(0.05, seed=1)
    (folder / "both").mkdir()
    energies = {}
    for name, lines in parts.items():
        work = folder / name
        work.mkdir(exist_ok=True)
        atoms.write(work / "box.data", format="lammps-data", specorder=["Cu", "Al"], masses=True)
        lines = lines.replace("model.pth", str(folder / "model.pth"))
        script = f"units metal\nread_data box.data\n{lines}thermo_modify format float %.10f\nrun 0\n"
        printed = lammps(script, work)
        table = printed.splitlines()
        row = next(index for index, line in enumerate(table) if line.split()[:1] == ["Step"])
        energies[name] = float(dict(zip(table[row].split(), table[row + 1].split()))["E_pair"])
    assert abs(energies["dispersion"]) > 0.1
    assert energies["both"] == pytest.approx(energies["model"] + energies["dispersion"], abs=1e-6)
