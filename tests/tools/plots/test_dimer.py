"""A pair curve tells the bound minimum from a hole in the repulsive core."""

from pathlib import Path

import numpy as np
import pytest

from deepmd_dpa4.tools.plots.dimer import PairCurve, draw, windows

DISTANCE = np.linspace(0.3, 6.0, 1141)


def curve(energy: np.ndarray, pair: tuple[str, str] = ("Fe", "O")) -> PairCurve:
    return PairCurve(pair, DISTANCE, energy, -np.gradient(energy, DISTANCE))


def morse(depth: float = 1.8, bond: float = 1.66) -> np.ndarray:
    return depth * ((1 - np.exp(-2.0 * (DISTANCE - bond))) ** 2 - 1)


def hole(depth: float, place: float = 0.4) -> np.ndarray:
    return -depth * np.exp(-(((DISTANCE - place) / 0.08) ** 2))


def test_a_bond() -> None:
    found = curve(morse())
    assert found.minimum == pytest.approx((1.66, -1.8), abs=0.01)
    assert found.hole is None


def test_a_hole_is_not_the_bond() -> None:
    found = curve(morse() + hole(1700.0))
    assert found.minimum == pytest.approx((1.66, -1.8), abs=0.01)
    assert found.hole is not None
    assert found.hole[0] == pytest.approx(0.4, abs=0.03)
    assert found.hole[1] < -1400


def test_a_curve_that_falls_towards_zero_distance() -> None:
    """Its lowest point is the end of the range, and the bond is still found."""
    found = curve(morse(4.5, 0.75) - 40 * np.exp(-10 * DISTANCE), ("H", "H"))
    assert found.minimum is not None and found.minimum[0] == pytest.approx(0.75, abs=0.03)


def test_a_dent_above_the_bond_is_none() -> None:
    assert curve(morse() + hole(20.0)).hole is None


def test_no_bond() -> None:
    assert curve(np.exp(-DISTANCE)).minimum is None


def test_names_that_are_no_elements_have_no_core() -> None:
    found = curve(morse() + hole(1700.0), ("X", "O"))
    assert found.core == 0.0
    assert found.hole is None
    assert found.minimum is not None and found.minimum[0] < 0.6


@pytest.mark.parametrize("depth", [0.05, 1.8, 9.0])
def test_the_window_shows_the_well(depth: float) -> None:
    """Whatever the repulsion or a hole do."""
    found = windows(curve(morse(depth) + hole(1e4) + 1e4 * np.exp(-20 * DISTANCE)))
    assert -2 * depth < found["energy"][0] < -depth and depth < found["energy"][1] < 5 * depth
    # the largest attraction of a Morse curve is half of depth times its exponent, which is 2 here
    assert found["force"] == pytest.approx((-1.25 * depth, 2.5 * depth), rel=0.02)


def test_a_curve_without_a_well_has_a_window() -> None:
    found = windows(curve(np.exp(-DISTANCE)))
    assert found["energy"] == found["force"] == (-2.5, 5.0)


@pytest.mark.parametrize("suffix", [".pdf", ".png", ".svg"])
def test_formats(suffix: str, tmp_path: Path) -> None:
    draw(curve(morse()), None, None, 6.0, tmp_path / f"a{suffix}", "model.pt: Fe-O")
    draw(curve(morse()), None, None, 6.0, tmp_path / f"b{suffix}", "model.pt: Fe-O")
    content = (tmp_path / f"a{suffix}").read_bytes()
    assert content == (tmp_path / f"b{suffix}").read_bytes()
    assert content.startswith({".pdf": b"%PDF", ".png": b"\x89PNG", ".svg": b"<?xml"}[suffix])
