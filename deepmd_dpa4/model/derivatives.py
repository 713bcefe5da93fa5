"""Forces and virial from one gradient with respect to the edge vectors (specification 6.3)."""

import torch
from torch import Tensor

from deepmd_dpa4.ops.segment import segment_sum


def edge_gradient(energy: Tensor, vector: Tensor, create_graph: bool) -> Tensor:
    """Gradient of the sum of ``energy`` with respect to the edge vectors (E, 3), in eV per Angstrom."""
    gradient = torch.autograd.grad([energy.sum()], [vector], create_graph=create_graph, retain_graph=create_graph)[0]
    assert gradient is not None
    return gradient


def scatter_forces(gradient: Tensor, force_sender: Tensor, force_receiver: Tensor, n_atoms: int) -> Tensor:
    r""":math:`F_k = \sum_{i(e)=k} g_e - \sum_{j(e)=k} g_e`, (n_atoms, 3) in eV per Angstrom."""
    return segment_sum(gradient, force_receiver, n_atoms) - segment_sum(gradient, force_sender, n_atoms)


def edge_virial(gradient: Tensor, vector: Tensor) -> Tensor:
    r"""Contribution :math:`-g_e \otimes v_e` of each edge, (E, 9) in eV; the virial W is their sum, stress = -W/V."""
    return -(gradient.unsqueeze(2) * vector.unsqueeze(1)).flatten(1)
