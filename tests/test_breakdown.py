"""Errors of the whole are those of its elements and systems."""

import math

import numpy as np
import pytest

from deepmd_dpa4.breakdown import MOST_SYSTEMS, Breakdown
from deepmd_dpa4.inference.structure import Prediction
from deepmd_dpa4.tools.commands.parity import shift_text
from deepmd_dpa4.tools.data.frame import Frame, Place
from deepmd_dpa4.tools.plots.parity import Comparison, errors_of

GENERATOR = np.random.default_rng(1)


def pair(symbols: str, virial: bool = True) -> tuple[Frame, Prediction]:
    atoms = len(symbols)
    energy, force, stress = GENERATOR.normal(), GENERATOR.normal(size=(atoms, 3)), GENERATOR.normal(size=(3, 3))
    labels = (0.0, force, stress if virial else None)
    frame = Frame(Place("system/set.000", 0), tuple(symbols), np.zeros((atoms, 3)), np.eye(3), *labels)
    return frame, Prediction(energy, np.zeros((atoms, 3)), np.zeros((3, 3)), np.zeros(atoms))


def test_sums() -> None:
    breakdown = Breakdown()
    frames = [("a", *pair("OHH")), ("b", *pair("OH", virial=False)), ("b", *pair("HHHH", virial=False))]
    for system, frame, prediction in frames:
        breakdown.add(system, frame.symbols, *errors_of(frame, prediction))
    forces = [frame.force for _, frame, _ in frames]
    hydrogen = np.concatenate([forces[0][1:], forces[1][1:], forces[2]])
    assert breakdown.elements["H"].rmse("force") == pytest.approx(math.sqrt(np.mean(hydrogen**2)))
    assert (breakdown.elements["O"].frames, breakdown.elements["O"].atoms) == (2, 2)
    b = breakdown.systems["b"]
    assert b.rmse("force") == pytest.approx(math.sqrt(np.mean(np.concatenate(forces[1:]) ** 2)))
    expected = [prediction.energy / len(frame.symbols) for _, frame, prediction in frames[1:]]
    assert b.rmse("energy") == pytest.approx(math.sqrt(np.mean(np.square(expected))))
    assert math.isnan(b.rmse("virial")) and (b.frames, b.atoms) == (2, 6)
    assert breakdown.systems["a"].rmse("virial") == pytest.approx(math.sqrt(np.mean(frames[0][1].virial ** 2)) / 3)


def test_the_worst_systems_come_first() -> None:
    breakdown = Breakdown()
    for number in range(MOST_SYSTEMS + 3):
        frame, prediction = pair("OH")
        breakdown.add(f"system{number}", frame.symbols, *errors_of(frame, prediction))
    rows = list(breakdown.rows())
    assert [kind for kind, _, _ in rows] == ["element"] * 2 + ["system"] * MOST_SYSTEMS
    errors = [sums.rmse("force") for kind, _, sums in rows if kind == "system"]
    assert errors == sorted(errors, reverse=True)


class TestShift:
    """Constants of elements by which energies differ."""

    @staticmethod
    def of(*frames: tuple[str, float]) -> Breakdown:
        breakdown = Breakdown()
        for symbols, energy in frames:
            breakdown.add("data", list(symbols), energy, None, None)
        return breakdown

    def test_constants_of_two_elements(self) -> None:
        frames = [("H" * h + "C" * c, -2.0 * h + 0.5 * c) for h, c in ((1, 0), (2, 1), (0, 3), (4, 1), (1, 1), (3, 3))]
        shift = self.of(*frames).shift()
        assert shift is not None
        assert shift.constants == pytest.approx({"C": -0.5, "H": 2.0})
        assert shift.rmse == pytest.approx(0.0, abs=1e-12)

    def test_what_remains(self) -> None:
        """Of one element the mean per atom is taken away, whatever the sizes of the frames."""
        shift = self.of(("C", 1.1), ("CC", 1.8), ("CCC", 3.0), ("C", 1.0)).shift()
        assert shift is not None
        assert shift.constants == pytest.approx({"C": -1.0})
        assert shift.mae == pytest.approx(0.05)
        assert shift.rmse == pytest.approx(math.sqrt(0.02 / 4))

    def test_elements_that_vary_together(self) -> None:
        """Any split of the constant fits water; the smallest is taken."""
        shift = self.of(*[("HHO" * size, 3.0 * size) for size in range(1, 8)]).shift()
        assert shift is not None
        assert 2 * shift.constants["H"] + shift.constants["O"] == pytest.approx(-3.0)
        assert shift.constants["H"] == pytest.approx(2 * shift.constants["O"])

    def test_too_few_frames(self) -> None:
        assert self.of(("HC", 1.0), ("HHC", 2.0), ("HCC", 0.5), ("CC", 1.0), ("H", 1.0)).shift() is None
        assert Breakdown().shift() is None


def test_the_command_tells_of_a_shift() -> None:
    """Where it makes most of the error of the energy, and not where it is a small part."""
    energy = Comparison("energy", "eV/atom")
    breakdown = Breakdown()
    for error in (1.0, 1.1, 0.9):
        energy.add(np.array([0.0]), np.array([error]))
        breakdown.add("data", ["Mo"], error, None, None)
    text = shift_text(energy, breakdown)
    assert text is not None
    assert "With Mo -1 eV added for each atom" in text
    assert "the RMSE is 81.65 and the MAE 66.67 meV/atom" in text
    breakdown = Breakdown()
    for error in (1.0, -1.1, 0.9):
        breakdown.add("data", ["Mo"], error, None, None)
    assert shift_text(energy, breakdown) is None
