"""Laws of the rotation matrices: definition, group, orthogonality, first degree, turns about z, derivatives."""

import pytest
import torch

from deepmd_dpa4.so3.harmonics import backbone_harmonics
from deepmd_dpa4.so3.layout import edge_rows, packed_index
from deepmd_dpa4.so3.wigner import WignerRows
from tests.support.rotations import kept_rows, random_directions, random_rotations, wigner_matrices

LMAX = 6


def test_definition() -> None:
    """S(Ru) = D(R) S(u)."""
    rotations, directions = random_rotations(5), random_directions(7)
    matrices = wigner_matrices(rotations, LMAX)
    before = torch.tensor(backbone_harmonics(LMAX, directions.numpy()))
    for rotation, matrix in zip(rotations, matrices, strict=True):
        after = torch.tensor(backbone_harmonics(LMAX, (directions @ rotation.T).numpy()))
        torch.testing.assert_close(before @ matrix.T, after, rtol=0, atol=1e-13)


def test_orthogonal_and_proper() -> None:
    matrices = wigner_matrices(random_rotations(5), LMAX)
    identity = torch.eye((LMAX + 1) ** 2, dtype=torch.float64).expand_as(matrices)
    torch.testing.assert_close(matrices @ matrices.transpose(1, 2), identity, rtol=0, atol=1e-13)
    for degree in range(LMAX + 1):
        block = matrices[:, degree**2 : (degree + 1) ** 2, degree**2 : (degree + 1) ** 2]
        torch.testing.assert_close(torch.linalg.det(block), torch.ones(5, dtype=torch.float64), rtol=0, atol=1e-12)


def test_composition() -> None:
    first, second = random_rotations(4, seed=1), random_rotations(4, seed=2)
    product = wigner_matrices(first, LMAX) @ wigner_matrices(second, LMAX)
    torch.testing.assert_close(product, wigner_matrices(first @ second, LMAX), rtol=0, atol=1e-13)


def test_identity_and_inverse() -> None:
    identity = wigner_matrices(torch.eye(3, dtype=torch.float64).unsqueeze(0), LMAX)[0]
    torch.testing.assert_close(identity, torch.eye((LMAX + 1) ** 2, dtype=torch.float64), rtol=0, atol=1e-14)
    rotations = random_rotations(3)
    inverse = wigner_matrices(rotations.transpose(1, 2), LMAX)
    torch.testing.assert_close(inverse, wigner_matrices(rotations, LMAX).transpose(1, 2), rtol=0, atol=1e-13)


def test_degrees_do_not_mix() -> None:
    matrix = wigner_matrices(random_rotations(1), 3)[0]
    degree = torch.tensor([l for l in range(4) for _ in range(2 * l + 1)])
    assert matrix[degree[:, None] != degree[None, :]].abs().max() == 0.0


def test_first_degree_is_the_rotation_itself() -> None:
    """D^1[a, b] = s_a s_b R[pi_a, pi_b] with pi = (1, 2, 0) and s = (-1, -1, 1)."""
    rotations = random_rotations(4)
    sign, axis = torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64), [1, 2, 0]
    expected = sign[:, None] * sign[None, :] * rotations[:, axis][:, :, axis]
    torch.testing.assert_close(wigner_matrices(rotations, 1)[:, 1:, 1:], expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("angle", [0.3, -2.1])
def test_turn_about_z(angle: float) -> None:
    """c_-m + i c_m becomes exp(i m angle) (c_-m + i c_m)."""
    c, s = torch.cos(torch.tensor(angle).double()).item(), torch.sin(torch.tensor(angle).double()).item()
    turn = torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    matrix = wigner_matrices(turn.unsqueeze(0), 4)[0]
    features = torch.randn(25, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turned = matrix @ features
    for degree in range(5):
        assert turned[packed_index(degree, 0)] == pytest.approx(float(features[packed_index(degree, 0)]), abs=1e-14)
        for m in range(1, degree + 1):
            minus, plus = packed_index(degree, -m), packed_index(degree, m)
            before = complex(features[minus], features[plus])
            after = complex(turned[minus], turned[plus])
            assert abs(after - before * complex(c, s) ** m) < 1e-13


@pytest.mark.parametrize("mmax", [0, 1, 2])
def test_kept_rows_are_rows_of_the_whole(mmax: int) -> None:
    rotations = random_rotations(4)
    wigner = WignerRows(3, mmax, torch.float64)
    zonal, compact = wigner(rotations[:, 0], rotations[:, 1], rotations[:, 2])
    kept = [packed_index(l, m) for l, m in edge_rows(3, mmax)]
    whole = wigner_matrices(rotations, 3)
    torch.testing.assert_close(wigner.dense(compact), whole[:, kept], rtol=0, atol=1e-14)
    blocks = [
        whole[:, packed_index(l, sign * m), l * l : (l + 1) ** 2]
        for l in range(4)
        for m in range(min(mmax, l) + 1)
        for sign in ((1, -1) if m else (1,))
    ]
    torch.testing.assert_close(compact, torch.cat(blocks, dim=1), rtol=0, atol=1e-14)
    # the rows m = 0 are the harmonics of the direction that is turned to +z
    expected = torch.tensor(backbone_harmonics(3, rotations[:, 2].numpy()))
    torch.testing.assert_close(zonal, expected, rtol=0, atol=1e-14)


def test_lower_degrees_are_a_leading_block() -> None:
    rotations = random_rotations(3)
    torch.testing.assert_close(wigner_matrices(rotations, 5)[:, :16, :16], wigner_matrices(rotations, 3))


def test_gradients() -> None:
    rotations = random_rotations(2).requires_grad_(True)

    def matrices(r: torch.Tensor) -> torch.Tensor:
        return kept_rows(r, 2, 2)

    assert torch.autograd.gradcheck(matrices, (rotations,))
    assert torch.autograd.gradgradcheck(matrices, (rotations,))


def test_single_precision() -> None:
    rotations = random_rotations(20)
    single = wigner_matrices(rotations.float(), 5)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), wigner_matrices(rotations, 5), rtol=0, atol=5e-6)
