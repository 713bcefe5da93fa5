"""Rotations of vectors, of packed features and of frames."""

import torch
from torch import Tensor

from deepmd_dpa4.so3.layout import edge_rows, packed_index
from deepmd_dpa4.so3.wigner import WignerRows


def quaternion_matrix(quaternion: Tensor) -> Tensor:
    """Active rotation matrix of unit quaternions (..., 4), scalar first: (..., 3, 3)."""
    w, x, y, z = quaternion.unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], dim=-1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], dim=-1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], dim=-1),
    ]
    return torch.stack(rows, dim=-2)


def random_rotations(count: int, seed: int = 0) -> Tensor:
    """Proper rotation matrices, (count, 3, 3)."""
    generator = torch.Generator().manual_seed(seed)
    quaternion = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    return quaternion_matrix(quaternion / quaternion.norm(dim=1, keepdim=True))


def random_directions(count: int, seed: int = 0) -> Tensor:
    """Unit vectors, (count, 3)."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return vectors / vectors.norm(dim=1, keepdim=True)


def kept_rows(rotations: Tensor, lmax: int, mmax: int) -> Tensor:
    """Rows |m| <= mmax of D(R) in edge order, (n, rows, D), for rotation matrices (n, 3, 3)."""
    wigner = WignerRows(lmax, mmax, rotations.dtype)
    _, compact = wigner(rotations[:, 0], rotations[:, 1], rotations[:, 2])
    return wigner.dense(compact)


def wigner_matrices(rotations: Tensor, lmax: int) -> Tensor:
    """Complete D(R) in packed order, (n, D, D), for rotation matrices (n, 3, 3)."""
    rows = kept_rows(rotations, lmax, lmax)
    position = [edge_rows(lmax, lmax).index((l, m)) for l in range(lmax + 1) for m in range(-l, l + 1)]
    assert [packed_index(*edge_rows(lmax, lmax)[p]) for p in position] == list(range((lmax + 1) ** 2))
    return rows[:, position]


def wigner_matrix(rotation: Tensor, lmax: int) -> Tensor:
    """The same for one rotation matrix (3, 3)."""
    return wigner_matrices(rotation.unsqueeze(0), lmax)[0]
