"""Predictions of files through DeePMD-kit's Python interface."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.support.toy import TYPES, Frames

SINGLE = 1e-5
"""Allowed relative difference of two orders of summation in single precision."""


class Prediction(NamedTuple):
    """Of all frames, eV and Angstrom."""

    energy: np.ndarray
    force: np.ndarray
    virial: np.ndarray
    atom_energy: np.ndarray
    atom_virial: np.ndarray


def deep_pot(path: Path, **options: Any) -> Any:
    from deepmd.infer import DeepPot

    return DeepPot(str(path), **options)


def predict(source: Any, frames: Frames, types: tuple[int, ...] = TYPES, periodic: bool = True, **more: Any) -> Any:
    """Evaluate a file or a DeepPot."""
    potential = deep_pot(source) if isinstance(source, Path) else source
    cell = frames.cell.reshape(len(frames.cell), 9) if periodic else None
    return Prediction(*potential.eval(frames.coord, cell, list(types), atomic=True, **more)[:5])


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference over the largest entry."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def assert_same(found: Prediction, expected: Prediction, limit: float = SINGLE) -> None:
    """Every output within ``limit`` of its largest entry."""
    for name, value, reference in zip(Prediction._fields, found, expected, strict=True):
        assert value.shape == reference.shape, name
        assert difference(value, reference) < limit, name
