"""Forces and virial from one gradient with respect to the edge vectors (theory 6.3)."""

import torch
from torch import Tensor

from deepmd_dpa4.ops.segment import segment_sum


def edge_gradient(energy: Tensor, vector: Tensor, create_graph: bool) -> Tensor:
    """Differentiate the sum of ``energy`` with respect to the edge vectors (E, 3), in eV per Angstrom."""
    gradient = torch.autograd.grad([energy.sum()], [vector], create_graph=create_graph, retain_graph=create_graph)[0]
    assert gradient is not None
    return gradient


def edge_virial(gradient: Tensor, vector: Tensor) -> Tensor:
    r"""Compute :math:`-g_e \otimes v_e` of each edge, (E, 9) in eV; the virial W is their sum, stress = -W/V."""
    return -(gradient.unsqueeze(2) * vector.unsqueeze(1)).flatten(1)


def frame_virial(gradient: Tensor, vector: Tensor, frame: Tensor, frames: int) -> Tensor:
    """Sum the virial of each frame, (frames, 9) in eV; ``frame`` (E,) is the frame of each edge."""
    if frames == 1:
        return -(gradient.t() @ vector).view(1, 9)
    return segment_sum(edge_virial(gradient, vector), frame, frames)
