"""The posterior of a linear model, and its calibration."""

import numpy as np
import pytest

from deepmd_dpa4.uncertainty.calibration import CalibrationError, calibrate
from deepmd_dpa4.uncertainty.rigidity import Rigidity, gram_matrix


def linear_data(frames: int, width: int, seed: int, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Features of structures of 1 to 5 atoms, and these numbers."""
    rng = np.random.default_rng(seed)
    atoms = rng.integers(1, 6, frames)
    scales = np.logspace(0, -3, width)
    return np.stack([(spread * scales * rng.normal(size=(n, width))).sum(axis=0) for n in atoms]), atoms


def test_gram_matrix_and_deviations_are_those_of_the_formula() -> None:
    features, atoms = linear_data(30, 4, seed=0)
    gram = sum(np.outer(row, row) / n for row, n in zip(features, atoms))
    np.testing.assert_allclose(gram_matrix(features, atoms), gram, rtol=1e-12)
    probe = linear_data(5, 4, seed=1)[0]
    inverse = np.linalg.inv(gram + 1e-3 * np.eye(4))
    expected = [np.sqrt(0.7 * f @ inverse @ f) for f in probe]
    np.testing.assert_allclose(Rigidity(gram, 1e-3, 0.7).deviations(probe), expected, rtol=1e-10)


def test_spread_of_refitted_models() -> None:
    """Least squares fits to labels with fresh noise scatter by what one fit predicts for itself."""
    features, atoms = linear_data(200, 3, seed=2)
    probe = linear_data(4, 3, seed=3)[0]
    rng = np.random.default_rng(4)
    scaled = features / np.sqrt(atoms)[:, None]
    fits = [np.linalg.lstsq(scaled, 0.1 * rng.normal(size=len(scaled)), rcond=None)[0] for _ in range(2000)]
    found = Rigidity(gram_matrix(features, atoms), 1e-12, 0.01).deviations(probe)
    np.testing.assert_allclose(np.std(probe @ np.stack(fits).T, axis=1), found, rtol=0.08)


def test_calibration_finds_the_scale_and_the_best_candidate() -> None:
    features, atoms = linear_data(50, 6, seed=5)
    gram = gram_matrix(features, atoms)
    judged = linear_data(4000, 6, seed=6, spread=3.0)[0]
    values = np.linalg.eigvalsh(gram)
    truth = Rigidity(gram, 1e-4 * values[-1], 0.3)
    errors = truth.deviations(judged) * np.random.default_rng(7).normal(size=len(judged))
    found = calibrate(gram, judged, errors)
    assert found.ridge == pytest.approx(truth.ridge, rel=1.0)
    assert np.mean((errors / found.deviations(judged)) ** 2) == pytest.approx(1, rel=1e-6)
    np.testing.assert_allclose(found.deviations(judged), truth.deviations(judged), rtol=0.2)


def test_far_structures_are_less_certain() -> None:
    """A direction that no training structure has is as uncertain as the regularisation allows."""
    features, atoms = linear_data(50, 4, seed=8)
    features[:, 3] = 0
    rigidity = Rigidity(gram_matrix(features, atoms), 1e-2, 1.0)
    near, far = rigidity.deviations(np.array([[1.0, 0, 0, 0], [0, 0, 0, 1.0]]))
    assert far == pytest.approx(10)
    assert near < 1


@pytest.mark.parametrize(
    ("count", "factor", "error", "message"),
    [
        (9, 1.0, 1.0, "9 frames with an energy are there to calibrate but must be at least 10"),
        (20, 0.0, 1.0, "last hidden features of the fitting network are zero"),
        (20, 1.0, 0.0, "all errors of energies are zero"),
    ],
)
def test_data_that_do_not_suffice(count: int, factor: float, error: float, message: str) -> None:
    features, atoms = linear_data(count, 3, seed=9)
    with pytest.raises(CalibrationError, match=message):
        calibrate(gram_matrix(features, atoms), factor * features, np.full(count, error))
