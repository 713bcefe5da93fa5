"""Errors of subsets, and their geometric mean."""

import numpy as np
import pytest

from deepmd_dpa4.tools.plots.parity import Comparison
from deepmd_dpa4.tools.plots.subsets import geometric_mean, subset_errors


def test_components_count_not_frames() -> None:
    force = Comparison("force", "eV/Å")
    force.add(np.zeros((1, 3)), np.full((1, 3), 0.1), "water")
    force.add(np.zeros((3, 3)), np.full((3, 3), 0.5), "water")
    force.add(np.zeros((2, 3)), np.full((2, 3), -0.2), "QMugs")
    water, drugs = subset_errors([force])
    assert (water.name, water.frames, drugs.name, drugs.frames) == ("water", 2, "QMugs", 1)
    assert water.mae["force"] == pytest.approx((3 * 0.1 + 9 * 0.5) / 12)
    assert drugs.mae["force"] == pytest.approx(0.2)


def test_subset_without_a_label() -> None:
    energy, force = Comparison("energy", "eV/atom"), Comparison("force", "eV/Å")
    energy.add(np.array([1.0]), np.array([1.5]), "one")
    energy.add(None, np.array([1.5]), "two")
    force.add(np.zeros((1, 3)), np.ones((1, 3)), "two")
    one, two = subset_errors([energy, force])
    assert (one.mae, two.mae) == ({"energy": 0.5}, {"force": 1.0})
    assert (energy.missing, two.frames) == (1, 1)


def test_geometric_mean() -> None:
    """A factor in one subset changes the mean by its root, whatever the size of the errors there."""
    errors = np.array([14.0, 0.2, 3.0, 0.05])
    mean = geometric_mean(errors)
    assert mean == pytest.approx(np.prod(errors) ** 0.25)
    for index in range(4):
        worse = errors * np.where(np.arange(4) == index, 16, 1)
        assert geometric_mean(worse) == pytest.approx(2 * mean)
