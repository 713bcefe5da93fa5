"""Into the edge frames, back, and the sum per receiver."""

import torch
from torch import Tensor

from deepmd_dpa4.ops.rotation import rotate_back_sum, rotate_in
from tests.support.rotations import random_rotations, wigner_matrices

SENDER, RECEIVER = torch.tensor([1, 2, 0, 2]), torch.tensor([0, 0, 1, 3])


def features() -> Tensor:
    return torch.randn(3, 9, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_back_undoes_in() -> None:
    matrix = wigner_matrices(random_rotations(4), 2)
    local = rotate_in(features(), SENDER, matrix)
    for edge in range(4):
        torch.testing.assert_close(local[edge], matrix[edge] @ features()[SENDER[edge]])
    summed = rotate_back_sum(local, matrix, RECEIVER, 4)
    expected = torch.zeros(4, 9, 5, dtype=torch.float64).index_add(0, RECEIVER, features()[SENDER])
    torch.testing.assert_close(summed, expected, rtol=0, atol=1e-13)


def test_no_edges() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    matrix = torch.zeros(0, 4, 9, dtype=torch.float64)
    local = rotate_in(features(), none, matrix)
    assert local.shape == (0, 4, 5)
    assert rotate_back_sum(local, matrix, none, 2).abs().max() == 0.0
