"""Labels are found under usual or given names, and never guessed."""

import numpy as np
import pytest
from ase import Atoms

from deepmd_dpa4.tools.data.errors import DataError
from deepmd_dpa4.tools.data.frame import Frame, Place
from deepmd_dpa4.tools.data.labels import Keys, Labels
from deepmd_dpa4.tools.data.sources import from_atoms
from deepmd_dpa4.tools.data.stress import UNITS, Convention
from tests.support.structures import crystals, renamed, virial, water


def labelled(atoms: Atoms, convention: Convention | None = None, **keys: str) -> Frame:
    return Labels(Keys(**keys), convention or Convention()).frame(from_atoms(Place("file", 3), atoms))


@pytest.fixture
def atoms() -> Atoms:
    return crystals(1)[0]


def check(frame: Frame, atoms: Atoms) -> None:
    results = atoms.calc.results
    assert frame.energy == results["energy"]
    np.testing.assert_array_equal(frame.force, results["forces"])
    np.testing.assert_allclose(frame.virial, virial(atoms), rtol=1e-12)


@pytest.mark.parametrize(
    ("energy", "forces", "stress"),
    [
        ("REF_energy", "REF_forces", "REF_stress"),
        ("dft_energy", "dft_force", "stress_dft"),
        ("TotEn", "force", "stress"),
    ],
)
def test_usual_names(atoms: Atoms, energy: str, forces: str, stress: str) -> None:
    check(labelled(renamed(atoms, energy=energy, forces=forces, stress=stress)), atoms)


def test_results_of_a_calculator(atoms: Atoms) -> None:
    check(labelled(atoms), atoms)


def test_named_by_the_user(atoms: Atoms) -> None:
    other = renamed(atoms, energy="e1", forces="f1", stress="s1")
    assert labelled(other).energy is None
    check(labelled(other, energy="e1", force="f1", stress="s1"), atoms)


def test_the_same_value_twice_is_no_question(atoms: Atoms) -> None:
    atoms.info["REF_energy"] = atoms.calc.results["energy"]
    check(labelled(atoms), atoms)


def test_two_energies(atoms: Atoms) -> None:
    atoms.info["REF_energy"] = -1.0
    with pytest.raises(DataError, match=r"file, frame 3 has several values for energy: energy = .*, REF_energy = -1.0"):
        labelled(atoms)
    assert labelled(atoms, energy="REF_energy").energy == -1.0


def test_two_kinds_of_forces(atoms: Atoms) -> None:
    atoms.arrays["REF_forces"] = np.zeros((4, 3))
    with pytest.raises(DataError, match=r"several values for force: forces .* choose with `--force-key`"):
        labelled(atoms)


def test_info_and_result_of_one_name(atoms: Atoms) -> None:
    atoms.info["energy"] = -1.0
    with pytest.raises(DataError, match=r"info:energy = -1\.0"):
        labelled(atoms)
    assert labelled(atoms, energy="info:energy").energy == -1.0


def test_wrong_shape(atoms: Atoms) -> None:
    with pytest.raises(DataError, match=r"`--energy-key` is 'forces' but must be a number in file, frame 3"):
        labelled(atoms, energy="forces")
    with pytest.raises(DataError, match=r"`--force-key` is 'stress' but must be numbers of shape \(4, 3\)"):
        labelled(atoms, force="stress")


def test_a_name_that_nobody_has(atoms: Atoms) -> None:
    labels = Labels(Keys(energy="e"), Convention())
    assert labels.frame(from_atoms(Place("file", 0), atoms)).energy is None
    with pytest.raises(
        DataError, match=r"`--energy-key` is 'e' but must be one of the names .*: energy, forces, stress"
    ):
        labels.check_named()


def test_vasp_has_two_energies(atoms: Atoms) -> None:
    atoms.calc.results["free_energy"] = -5.0
    with pytest.raises(DataError, match="free_energy"):
        labelled(atoms)
    record = from_atoms(Place("OUTCAR", 0), atoms, energy_of_forces="free_energy")
    assert Labels(Keys(), Convention()).frame(record).energy == -5.0


class TestStress:
    """A virial tells what the stress beside it means."""

    @pytest.mark.parametrize("unit", UNITS)
    @pytest.mark.parametrize("flip", [False, True])
    def test_conventions(self, atoms: Atoms, unit: str, flip: bool) -> None:
        true = virial(atoms)
        atoms.info["virial"] = true
        atoms.calc.results["stress"] = atoms.calc.results["stress"] / UNITS[unit] * (-1 if flip else 1)
        convention = Convention(unit=unit, flip=flip)
        np.testing.assert_allclose(labelled(atoms, convention).virial, true, rtol=1e-12)
        if convention != Convention():
            advice = f"`--stress-unit '{unit.replace('^', '.')}'`" + (" and `--flip-virial`" if flip else "")
            with pytest.raises(DataError, match=f"contradicts the virial; they agree .*: give {advice}, or"):
                labelled(atoms)

    def test_unrelated(self, atoms: Atoms) -> None:
        atoms.info["virial"] = np.eye(3)
        with pytest.raises(DataError, match="take one of them with `--virial-key` or `--stress-key`"):
            labelled(atoms)
        np.testing.assert_array_equal(labelled(atoms, virial="virial").virial, np.eye(3))
        np.testing.assert_allclose(labelled(atoms, stress="stress").virial, virial(atoms), rtol=1e-12)

    def test_flipped_virial(self, atoms: Atoms) -> None:
        atoms.info["virial"] = -virial(atoms)
        frame = labelled(atoms, Convention(flip=True), virial="virial")
        np.testing.assert_allclose(frame.virial, virial(atoms), rtol=1e-12)

    def test_a_molecule_has_none(self) -> None:
        atoms = water()
        atoms.calc.results["stress"] = np.ones(6)
        labels = Labels(Keys(), Convention())
        assert labels.frame(from_atoms(Place("file", 0), atoms)).virial is None
        assert labels.without_cell == 1
