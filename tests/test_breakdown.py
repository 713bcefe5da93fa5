"""Errors of the whole are those of its elements and systems."""

import math

import numpy as np
import pytest

from deepmd_dpa4.breakdown import MOST_SYSTEMS, Breakdown
from deepmd_dpa4.inference.structure import Prediction
from deepmd_dpa4.tools.data.frame import Frame, Place
from deepmd_dpa4.tools.plots.parity import errors_of

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
