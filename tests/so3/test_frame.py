"""The edge frame turns its direction to +z, everywhere on the sphere, with finite derivatives."""

import pytest
import torch
from torch import Tensor

from deepmd_dpa4.so3.frame import edge_frame, roll_frame
from tests.support.rotations import random_directions

POLES = torch.tensor(
    [
        [0, 0, 1],
        [0, 0, -1],
        [1e-9, 0, 1],
        [1e-9, -1e-9, -1],
        [1, 0, 0],
        [0, -1, 0],
        [0.6, 0.8, 0.0],
        [0.6, 0.8, -1e-12],
    ],
    dtype=torch.float64,
)


def directions() -> Tensor:
    poles = POLES / POLES.norm(dim=1, keepdim=True)
    return torch.cat([random_directions(50), poles])


def as_matrix(first: Tensor, second: Tensor, direction: Tensor) -> Tensor:
    return torch.stack([first, second, direction], dim=1)


def test_is_a_rotation_that_turns_the_edge_to_z() -> None:
    u = directions()
    frame = as_matrix(*edge_frame(u), u)
    identity = torch.eye(3, dtype=torch.float64).expand(len(u), 3, 3)
    torch.testing.assert_close(frame @ frame.transpose(1, 2), identity, rtol=0, atol=1e-14)
    torch.testing.assert_close(torch.linalg.det(frame), torch.ones(len(u), dtype=torch.float64), rtol=0, atol=1e-14)
    z = (frame @ u.unsqueeze(2)).squeeze(2)
    expected = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand_as(z)
    torch.testing.assert_close(z, expected, rtol=0, atol=1e-14)


def test_roll_keeps_the_edge_and_turns_about_it() -> None:
    u = directions()
    angle = torch.linspace(-3.0, 3.0, len(u), dtype=torch.float64).unsqueeze(1)
    first, second = edge_frame(u)
    rolled = as_matrix(*roll_frame(first, second, angle), u)
    turn = rolled @ as_matrix(first, second, u).transpose(1, 2)
    torch.testing.assert_close(turn[:, 0, 0], torch.cos(angle[:, 0]), rtol=0, atol=1e-14)
    torch.testing.assert_close(turn[:, 1, 0], torch.sin(angle[:, 0]), rtol=0, atol=1e-14)
    torch.testing.assert_close(turn[:, 2, 2], torch.ones(len(u), dtype=torch.float64), rtol=0, atol=1e-14)


@pytest.mark.parametrize("pole", [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [0.6, 0.0, 0.8], [0.6, 0.48, -0.64]])
def test_gradients(pole: list[float]) -> None:
    u = torch.tensor([pole], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(edge_frame, (u,))
    assert torch.autograd.gradgradcheck(edge_frame, (u,))
