"""A wrong sign or unit of the stress shows in many frames."""

import re
from pathlib import Path

import numpy as np
import pytest
from ase.io import write

from deepmd_dpa4.cli import main
from deepmd_dpa4.tools.data.errors import DataError
from deepmd_dpa4.tools.data.frame import Place
from deepmd_dpa4.tools.data.labels import Keys, Labels
from deepmd_dpa4.tools.data.reader import frames_at
from deepmd_dpa4.tools.data.sources import from_atoms
from deepmd_dpa4.tools.data.stress import UNITS, Convention, StressAudit, matrix
from tests.support.structures import crystals, virial


def audit(count: int, strain: float, convention: Convention) -> StressAudit:
    labels, result = Labels(Keys(), convention), StressAudit()
    for atoms in crystals(count, strain=strain):
        result.add(labels.frame(from_atoms(Place("file", 0), atoms)))
    return result


def test_right() -> None:
    audit(40, 0.03, Convention()).check()


def test_wrong_sign() -> None:
    (complaint,) = audit(40, 0.03, Convention(flip=True)).complaints()
    assert complaint.endswith("so its sign seems to be opposite: give `--flip-virial`")


def test_wrong_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stress in GPa that is taken for eV/Angstrom^3."""
    monkeypatch.setitem(UNITS, "eV/A^3", 160.21766)
    with pytest.raises(DataError, match=r"as if the bulk modulus were .* GPa; .*`--stress-unit`.*`--no-stress-check`"):
        audit(40, 0.03, Convention()).check()


@pytest.mark.parametrize(("count", "strain"), [(10, 0.03), (40, 1e-4)], ids=["few frames", "one volume"])
def test_no_judgement_without_evidence(count: int, strain: float) -> None:
    assert not list(audit(count, strain, Convention(flip=True)).complaints())


def test_a_unit_shows_in_one_frame() -> None:
    (atoms,) = crystals(1)
    atoms.calc.results["stress"] = np.array([4.0, 4, 4, 0, 0, 0])
    result = StressAudit()
    result.add(Labels(Keys(), Convention()).frame(from_atoms(Place("file", 0), atoms)))
    (complaint,) = result.complaints()
    assert complaint.startswith("1 of 1 frames have a mean stress beyond 3 eV/A^3 (480 GPa)")


def test_a_unit_shows_in_few_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A stress in kbar with the sign of VASP, under the usual name."""
    made = crystals(5, strain=0.06)
    for atoms in made:
        atoms.calc.results["stress"] = -atoms.get_stress() / UNITS["kbar"]
    write(tmp_path / "a.extxyz", made)
    words = ["data", "convert", str(tmp_path / "a.extxyz"), "-o", str(tmp_path / "out")]
    assert main(words) == 1
    assert re.search(r"of . frames have a mean stress beyond 3 .*give `--stress-unit`", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()
    assert main([*words, "--stress-unit", "kbar", "--flip-virial"]) == 0
    assert "the sign of the stress in 5 frames was not tested" in capsys.readouterr().out
    for frame, atoms in zip(frames_at([tmp_path / "out"]), crystals(5, strain=0.06)):
        np.testing.assert_allclose(frame.virial, virial(atoms), atol=1e-6)


def test_frames_that_show_the_sign(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a.extxyz", crystals(25))
    assert main(["data", "convert", str(tmp_path / "a.extxyz"), "-o", str(tmp_path / "out")]) == 0
    assert "was not tested" not in capsys.readouterr().out


def test_trend_is_that_of_numpy() -> None:
    result = audit(30, 0.03, Convention())
    (trend,) = result.trends.values()
    frames = [Labels(Keys(), Convention()).frame(from_atoms(Place("", 0), atoms)) for atoms in crystals(30)]
    x = np.log([frame.volume for frame in frames])
    y = np.array([-np.trace(frame.virial) / 3 / frame.volume for frame in frames])
    expected = np.cov(x, y, ddof=0) * 30
    np.testing.assert_allclose([trend.xx, trend.xy, trend.yy], [expected[0, 0], expected[0, 1], expected[1, 1]])


def test_orders_of_six_and_nine() -> None:
    full = np.array([[1.0, 6, 5], [6, 2, 4], [5, 4, 3]])
    np.testing.assert_array_equal(matrix(np.arange(1.0, 7)), full)
    np.testing.assert_array_equal(matrix(full.reshape(9)), full)
    with pytest.raises(ValueError, match="shape"):
        matrix(np.zeros((2, 6)))
