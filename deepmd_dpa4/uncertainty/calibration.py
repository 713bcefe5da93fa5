"""Regularisation and scale of the uncertainties, from the errors on validation data (theory 6.5)."""

import numpy as np
from scipy.linalg import eigh

from deepmd_dpa4.errors import UserError
from deepmd_dpa4.uncertainty.rigidity import Array, Rigidity

LEAST_FRAMES = 10
"""Frames below which two parameters are not fitted."""
LEAST_RIDGE = 1e-12
"""Smallest regularisation, a part of the largest eigenvalue of the Gram matrix, far enough above rounding."""
CANDIDATES = 33


class CalibrationError(UserError, ValueError):
    """The data do not determine uncertainties; the message says why."""


def calibrate(gram: Array, features: Array, errors: Array) -> Rigidity:
    r"""Choose :math:`\zeta^2` and :math:`\alpha` at the largest likelihood of the errors of energies.

    The errors are taken for independent and normal, :math:`\epsilon_A \sim N(0, \alpha v_A(\zeta))` with
    :math:`v_A = f_A^T (G + \zeta^2 1)^{-1} f_A`. For a given :math:`\zeta` the likelihood is largest at
    :math:`\alpha = \langle \epsilon_A^2 / v_A \rangle`; of candidates for :math:`\zeta^2` the best one is taken. They
    end at the median eigenvalue of G: validation data like those of the training cannot tell directions that the data
    determine from others, and a larger regularisation would make all structures equally uncertain.

    Parameters
    ----------
    gram : array
        Of the training data, (W, W).
    features : array
        Of the validation structures, summed over atoms, (n, W).
    errors : array
        Predicted minus reference energies of the same, (n,), eV.

    Raises
    ------
    CalibrationError
        If there are fewer than :data:`LEAST_FRAMES` structures, or features or errors vanish.
    """
    if len(errors) < LEAST_FRAMES:
        raise CalibrationError(
            f"{len(errors)} frames with an energy are there to calibrate but must be at least {LEAST_FRAMES}"
        )
    values, vectors = eigh(gram)
    values = values.clip(min=0.0)
    weights = (features @ vectors) ** 2
    if not values[-1] > 0 or not weights.sum(axis=1).all():
        raise CalibrationError("the last hidden features of the fitting network are zero: the model is not trained")
    if not np.any(errors):
        raise CalibrationError("all errors of energies are zero, so they give no scale of the uncertainty")
    best, least = (np.nan, np.nan), np.inf
    for ridge in candidates(values):
        variances = weights @ (1 / (values + ridge))
        scale = float(np.mean(errors**2 / variances))
        loss = np.log(scale) + float(np.mean(np.log(variances)))
        if loss < least:
            best, least = (float(ridge), scale), loss
    return Rigidity(gram, *best)


def candidates(eigenvalues: Array) -> Array:
    """List values of the regularisation, up to the median of the eigenvalues, which are in ascending order."""
    least = LEAST_RIDGE * eigenvalues[-1]
    return np.geomspace(least, max(float(np.median(eigenvalues)), 10 * least), CANDIDATES)
