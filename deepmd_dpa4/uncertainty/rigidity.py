"""Last-layer prediction rigidity: standard deviations of energies from features of the last layer (theory 6.5)."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rigidity:
    r"""Posterior of the last layer of an energy network, a linear map of features.

    The energy of a structure is linear in its features, :math:`f_A = \sum_{i \in A} f_i`, and so is that of an atom.
    With the Gram matrix of the training data, :math:`G = \sum_A f_A f_A^T / N_A`, a structure or an atom with features
    f has the variance

    .. math:: \sigma^2 = \alpha f^T (G + \zeta^2 1)^{-1} f

    Parameters
    ----------
    gram : array
        G, (W, W), symmetric and not negative.
    ridge : float
        :math:`\zeta^2`, positive.
    scale : float
        :math:`\alpha`, eV^2.
    """

    gram: Array
    ridge: float
    scale: float

    @property
    def width(self) -> int:
        """Number W of features."""
        return len(self.gram)

    @cached_property
    def factor(self) -> Array:
        r"""Lower triangular L, :math:`L L^T = G + \zeta^2 1`."""
        return np.asarray(cholesky(self.gram + self.ridge * np.eye(self.width), lower=True))

    def deviations(self, features: Array) -> Array:
        """Compute standard deviations of energies.

        Parameters
        ----------
        features : array
            Of structures or atoms, (n, W).

        Returns
        -------
        array
            (n,), eV.
        """
        solved = solve_triangular(self.factor, features.T, lower=True, check_finite=False)
        return np.sqrt(self.scale * np.sum(solved**2, axis=0))


def gram_matrix(features: Array, atoms: NDArray[np.int64]) -> Array:
    r"""Compute the Gram matrix of structures, :math:`\sum_A f_A f_A^T / N_A`.

    Parameters
    ----------
    features : array
        Summed over the atoms of each structure, (n, W).
    atoms : array
        Number of atoms of each structure, (n,).

    Returns
    -------
    array
        (W, W).
    """
    scaled = features / np.sqrt(atoms)[:, None]
    return scaled.T @ scaled
