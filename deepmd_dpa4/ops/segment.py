"""Sums and soft maxima over the edges of each receiver."""

import torch
from torch import Tensor

# Below this edge weight an edge contributes less than rounding; the floor keeps ln w finite.
SMALLEST_WEIGHT = 1e-18


def segment_sum(values: Tensor, receiver: Tensor, n_receivers: int) -> Tensor:
    """Sum of the rows of ``values`` (E, ...) over the edges of each receiver: (n_receivers, ...)."""
    shape = [n_receivers] + list(values.shape[1:])
    return torch.zeros(shape, dtype=values.dtype, device=values.device).index_add(0, receiver, values)


def outer_sum(a: Tensor, b: Tensor, receiver: Tensor, n_receivers: int) -> Tensor:
    r""":math:`S_i = \sum_{e \to i} a_e \otimes b_e` of rows a (E, P) and b (E, Q): (n_receivers, P, Q).

    The native operator ``dpa4::outer_sum`` forms no outer product; it wants edges sorted by receiver.
    """
    return segment_sum(a.unsqueeze(2) * b.unsqueeze(1), receiver, n_receivers)


def envelope_softmax(
    logits: Tensor,
    weight: Tensor,
    gate: Tensor | None,
    null_mass: Tensor,
    receiver: Tensor,
    n_receivers: int,
    smallest_weight: float = SMALLEST_WEIGHT,
) -> Tensor:
    r"""Attention over the edges of a receiver that dies smoothly at the cutoff and never has to sum to one.

    .. math:: \alpha_e = \frac{w_e^2 g_e e^{\ell_e}}{z + \sum_{e' \to i} w_{e'}^2 g_{e'} e^{\ell_{e'}}}

    evaluated relative to the largest of :math:`\ln z` and :math:`\ell + 2\ln w` of each receiver, so that an empty
    neighbourhood needs no special case (theory 4.8).

    Parameters
    ----------
    logits : Tensor
        :math:`\ell`, (E, F, H).
    weight : Tensor
        Edge weight w, (E,).
    gate : Tensor or None
        Source gate g of each edge, (E,), in [0, 1].
    null_mass : Tensor
        z > 0, (F, H).
    receiver : Tensor
        (E,).
    n_receivers : int
        Number of receivers.
    smallest_weight : float
        Floor of w in the logarithm.

    Returns
    -------
    Tensor
        Weights, (E, F, H).
    """
    logits = logits + 2.0 * torch.log(weight.clamp(min=smallest_weight))[:, None, None]
    null_logit = torch.log(null_mass)
    index = receiver[:, None, None].expand_as(logits)
    largest = null_logit.detach().expand(n_receivers, -1, -1).contiguous()
    largest = largest.scatter_reduce(0, index, logits.detach(), "amax")
    mass = torch.exp(logits - largest.index_select(0, receiver))
    if gate is not None:
        mass = mass * gate[:, None, None]
    total = torch.exp(null_logit - largest) + segment_sum(mass, receiver, n_receivers)
    return mass / total.index_select(0, receiver)


def native_envelope_softmax(
    logits: Tensor,
    weight: Tensor,
    null_mass: Tensor,
    receiver: Tensor,
    n_receivers: int,
    smallest_weight: float = SMALLEST_WEIGHT,
) -> Tensor:
    """:func:`envelope_softmax` without a gate, by the operator ``dpa4::edge_softmax``.

    Edges are sorted by receiver and the tensors are on the CPU.
    """
    flat, null_logit = logits.flatten(1), torch.log(null_mass).flatten()
    alpha, _ = torch.ops.dpa4.edge_softmax(flat, weight, null_logit, receiver, n_receivers, smallest_weight)
    return alpha.view_as(logits)
