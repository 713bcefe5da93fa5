"""Printed values of harmonics, frames, rotation matrices, envelopes and the basis (theory 10)."""

import math

import numpy as np
import pytest
import torch

from deepmd_dpa4.graph.cutoff import CutoffEnvelope
from deepmd_dpa4.graph.radial import BesselBasis
from deepmd_dpa4.so3.harmonics import backbone_harmonics, grid_harmonics
from tests.support.rotations import quaternion_matrix, wigner_matrix

U = np.array([[0.48, 0.60, 0.64]])
PRINTED = 0.5e-10


def blended_quaternion(vector: torch.Tensor, eps: float = 1e-7) -> torch.Tensor:
    """Quaternion of the smooth edge frame (theory 1.5)."""

    def normalised(q: torch.Tensor) -> torch.Tensor:
        return q / torch.sqrt((q * q).sum() + eps * eps)

    distance = torch.sqrt((vector * vector).sum() + eps * eps)
    x, y, z = (vector / torch.sqrt(distance**2 + eps * eps)).tolist()
    at_top = normalised(torch.tensor([1 + z, y, -x, 0.0], dtype=torch.float64))
    at_bottom = normalised(torch.tensor([-x, 0.0, 1 - z, y], dtype=torch.float64))
    t = (z + 1) / 2
    a, b = math.exp(-1 / t), math.exp(-1 / (1 - t))
    share = a / (a + b)
    sign = 1.0 if float(at_top @ at_bottom) >= 0 else -1.0
    return normalised((1 - share) * at_bottom + share * sign * at_top)


def test_backbone_harmonics() -> None:
    expected = [1, 0.6, 0.64, -0.48, -0.4988306326, 0.6651075101, 0.1144, -0.5320860081, -0.1122368923]
    expected += [0.1571019542, -0.7138682904, 0.3850597876, -0.30464, -0.3080478301, -0.1606203653, 0.3224005320]
    np.testing.assert_allclose(backbone_harmonics(3, U)[0], expected, rtol=0, atol=PRINTED)


def test_grid_harmonics() -> None:
    expected = [1, 0.48, 0.6, 0.64, 0.5320860081, 0.4988306326, 0.04, 0.6651075101, 0.1551917524]
    np.testing.assert_allclose(grid_harmonics(2, U)[0], expected, rtol=0, atol=PRINTED)


def test_blended_quaternion_and_its_rotation_matrices() -> None:
    quaternion = blended_quaternion(torch.tensor(1.7 * U[0]))
    printed = [-0.9054919887, -0.3285909510, 0.2683803028, 0.0091792367]
    sign = math.copysign(1.0, printed[0] * float(quaternion[0]))
    np.testing.assert_allclose(sign * quaternion.numpy(), printed, rtol=0, atol=PRINTED)
    matrix = wigner_matrix(quaternion_matrix(quaternion), 2)
    first = [
        [0.7838874571, -0.5901458947, 0.1929981284],
        [0.6, 0.64, -0.48],
        [0.1597512273, 0.4920648564, 0.8557755094],
    ]
    np.testing.assert_allclose(matrix[1:4, 1:4].numpy(), first, rtol=0, atol=PRINTED)
    last = [-0.0145776242, 0.5412159294, -0.0919237071, 0.5349941063, 0.6420312678]
    np.testing.assert_allclose(matrix[8, 4:9].numpy(), last, rtol=0, atol=PRINTED)


def test_rotation_matrix_entries() -> None:
    quaternion = torch.tensor([0.8, 0.1, -0.3, 0.5], dtype=torch.float64)
    matrix = wigner_matrix(quaternion_matrix(quaternion / quaternion.norm()), 3)
    assert float(matrix[9 + 2, 9 + 5]) == pytest.approx(0.5184960922, abs=PRINTED, rel=0)
    assert float(matrix[4, 4 + 3]) == pytest.approx(-0.4324048566, abs=PRINTED, rel=0)


@pytest.mark.parametrize(
    ("distance", "basis", "edge"),
    [(1.0, 0.9997324785, 0.9953912085), (3.0, 0.828125, 0.63671875), (5.5, 0.0067162508, 0.0025649534)],
)
def test_envelopes(distance: float, basis: float, edge: float) -> None:
    r = torch.tensor([distance], dtype=torch.float64)
    assert CutoffEnvelope(6.0, 7)(r).item() == pytest.approx(basis, abs=PRINTED, rel=0)
    assert CutoffEnvelope(6.0, 5)(r).item() == pytest.approx(edge, abs=PRINTED, rel=0)


def test_bessel() -> None:
    basis = BesselBasis(6.0, 16, torch.float64)(torch.tensor([2.5], dtype=torch.float64))
    assert basis[0, 2].item() == pytest.approx(-0.2828427125, abs=PRINTED, rel=0)
