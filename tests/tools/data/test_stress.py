"""A wrong sign or unit of the stress shows in many frames."""

import numpy as np
import pytest

from deepmd_dpa4.tools.data.errors import DataError
from deepmd_dpa4.tools.data.frame import Place
from deepmd_dpa4.tools.data.labels import Keys, Labels
from deepmd_dpa4.tools.data.sources import from_atoms
from deepmd_dpa4.tools.data.stress import UNITS, Convention, StressAudit, matrix
from tests.support.structures import crystals


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
