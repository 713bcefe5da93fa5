"""Descriptors as points of a plane."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepmd_dpa4.tools.descriptors.rows import chunks

LEARNED = 20_000
"""Rows, evenly spaced, that UMAP learns its map from."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Projection:
    """Points of a plane, and what its axes are."""

    points: Array
    """(rows, 2)."""
    axes: tuple[str, str]


def project(matrix: np.ndarray, method: str) -> Projection:
    """Project descriptors (rows, C), which may lie on the disk, onto a plane.

    Parameters
    ----------
    matrix : array
        Descriptors.
    method : str
        ``pca`` for the two directions of largest variance, ``umap`` for the map of the package ``umap-learn``.
    """
    return umap(matrix) if method == "umap" else pca(matrix)


def pca(matrix: np.ndarray) -> Projection:
    r"""Project onto the eigenvectors of the covariance :math:`\frac1n \sum (x - \bar x)(x - \bar x)^T`.

    The largest component of each is positive, which fixes its sign.
    """
    count, width = matrix.shape
    bounds = list(chunks(count))
    mean = sum((rows_of(matrix, *part).sum(axis=0) for part in bounds), np.zeros(width)) / count
    covariance = np.zeros((width, width))
    for part in bounds:
        centred = rows_of(matrix, *part) - mean
        covariance += centred.T @ centred / count
    values, vectors = np.linalg.eigh(covariance)
    directions = vectors[:, :-3:-1] if width > 1 else np.array([[1.0, 0.0]])
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.where(directions[largest, [0, 1]] < 0, -1.0, 1.0)
    points = np.concatenate([(rows_of(matrix, *part) - mean) @ directions for part in bounds])
    shares = np.append(values[::-1], 0.0)[:2] / max(values.sum(), np.finfo(float).tiny)
    first, second = (f"component {number} ({share:.0%} of the variance)" for number, share in enumerate(shares, 1))
    return Projection(points, (first, second))


def umap(matrix: np.ndarray) -> Projection:
    """Learn a map by UMAP from some rows, and apply it to all.

    Source: McInnes, Healy, Melville, arXiv:1802.03426.
    """
    from umap import UMAP

    count = len(matrix)
    learned = np.unique(np.linspace(0, count - 1, min(count, LEARNED)).round().astype(int))
    reducer = UMAP(n_components=2, random_state=0, n_jobs=1)
    points = np.empty((count, 2))
    points[learned] = reducer.fit_transform(np.asarray(matrix[learned]))
    others = np.setdiff1d(np.arange(count), learned)
    for start, stop in chunks(len(others)):
        points[others[start:stop]] = reducer.transform(np.asarray(matrix[others[start:stop]]))
    return Projection(points, ("UMAP 1", "UMAP 2"))


def rows_of(matrix: np.ndarray, start: int, stop: int) -> Array:
    """Read some rows in double precision."""
    return np.asarray(matrix[start:stop], dtype=np.float64)
