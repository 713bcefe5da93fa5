"""Descriptors on a plane."""

import sys
from types import ModuleType

import numpy as np
import pytest

from deepmd_dpa4.tools.descriptors import project, rows

GENERATOR = np.random.default_rng(1)


@pytest.fixture
def matrix() -> np.ndarray:
    """Rows with a mean, and of a very different extent in each direction."""
    return (GENERATOR.normal(size=(50, 4)) * [3.0, 0.1, 1.0, 0.01] + 7.0).astype(np.float32)


def test_principal_components(matrix: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "CHUNK", 7)
    found = project.project(matrix, "pca")
    centred = matrix.astype(float) - matrix.astype(float).mean(axis=0)
    _, extents, directions = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(found.points), np.abs(centred @ directions[:2].T), atol=1e-9)
    share = extents[0] ** 2 / np.sum(extents**2)
    assert found.axes[0] == f"component 1 ({share:.0%} of the variance)"


def test_signs_are_fixed(matrix: np.ndarray) -> None:
    points = project.project(matrix, "pca").points
    # the first direction is close to the first axis, and points along it
    assert np.corrcoef(points[:, 0], matrix[:, 0])[0, 1] > 0.99


def test_equal_rows() -> None:
    points = project.project(np.ones((3, 2), dtype=np.float32), "pca").points
    np.testing.assert_array_equal(points, 0.0)


def test_umap_learns_from_some_rows(matrix: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is heavy: one of the same interface stands for it."""
    learned = []

    class Map:
        def __init__(self, **options: object) -> None:
            assert options["n_components"] == 2

        def fit_transform(self, given: np.ndarray) -> np.ndarray:
            learned.append(given)
            return self.transform(given)

        def transform(self, given: np.ndarray) -> np.ndarray:
            return 2.0 * given[:, :2]

    module = ModuleType("umap")
    module.UMAP = Map  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "umap", module)
    monkeypatch.setattr(project, "LEARNED", 11)
    monkeypatch.setattr(rows, "CHUNK", 7)
    found = project.project(matrix, "umap")
    assert [len(given) for given in learned] == [11]
    np.testing.assert_allclose(found.points, 2.0 * matrix[:, :2])
