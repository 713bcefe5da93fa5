"""Soft maximum over the edges of each receiver, gated by the envelope."""

import torch
from torch import Tensor

from deepmd_dpa4.graph.graph import Ends
from deepmd_dpa4.graph.order import received_of
from deepmd_dpa4.ops.operation import OnCpu, OnCuda, Operation
from deepmd_dpa4.ops.segment import segment_sum

# Below this edge weight an edge contributes less than rounding; the floor keeps ln w finite.
SMALLEST_WEIGHT = 1e-18


class EnvelopeSoftmax(Operation):
    r"""Weigh the edges of a receiver so that they die smoothly at the cutoff and never have to sum to one.

    .. math:: \alpha_e = \frac{w_e^2 g_e e^{\ell_e}}{z + \sum_{e' \to i} w_{e'}^2 g_{e'} e^{\ell_{e'}}}

    evaluated relative to the largest of :math:`\ln z` and :math:`\ell + 2\ln w` of each receiver, so that an empty
    neighbourhood needs no special case (theory 4.8). Logits :math:`\ell` (E, F, H), edge weights w (E,), source gates
    g (E,) in [0, 1] or None, and z > 0 (F, H) to weights (E, F, H).
    """

    def forward(self, logits: Tensor, weight: Tensor, gate: Tensor | None, null_mass: Tensor, ends: Ends) -> Tensor:
        return envelope_softmax(logits, weight, gate, null_mass, ends.receiver, ends.n_receivers)


class CpuEnvelopeSoftmax(OnCpu, EnvelopeSoftmax):
    """By ``dpa4::edge_softmax`` where there is no gate; edges are sorted by receiver."""

    def forward(self, logits: Tensor, weight: Tensor, gate: Tensor | None, null_mass: Tensor, ends: Ends) -> Tensor:
        receiver, n_receivers = ends.receiver, ends.n_receivers
        if gate is not None or weight.is_cuda:
            return envelope_softmax(logits, weight, gate, null_mass, receiver, n_receivers)
        return native_envelope_softmax(logits, weight, null_mass, receiver, n_receivers)


class TritonEnvelopeSoftmax(OnCuda, EnvelopeSoftmax):
    """By ``dpa4_triton::edge_softmax`` where there is no gate; edges are sorted by receiver."""

    def forward(self, logits: Tensor, weight: Tensor, gate: Tensor | None, null_mass: Tensor, ends: Ends) -> Tensor:
        if gate is not None:
            return envelope_softmax(logits, weight, gate, null_mass, ends.receiver, ends.n_receivers)
        from deepmd_dpa4.ops.triton.softmax import edge_softmax

        flat, null_logit = logits.flatten(1).contiguous(), torch.log(null_mass).flatten()
        alpha, _ = edge_softmax(flat, weight.contiguous(), null_logit, received_of(ends), SMALLEST_WEIGHT)
        return alpha.view(logits.shape)  # type: ignore[no-any-return]


def envelope_softmax(
    logits: Tensor,
    weight: Tensor,
    gate: Tensor | None,
    null_mass: Tensor,
    receiver: Tensor,
    n_receivers: int,
    smallest_weight: float = SMALLEST_WEIGHT,
) -> Tensor:
    """Define :class:`EnvelopeSoftmax`; edge weights have a floor in the logarithm."""
    mass, null = masses(logits, weight, torch.log(null_mass), receiver, n_receivers, smallest_weight)
    if gate is not None:
        mass = mass * gate[:, None, None]
    total = null + segment_sum(mass, receiver, n_receivers)
    return mass / total.index_select(0, receiver)


def masses(
    logits: Tensor, weight: Tensor, null_logit: Tensor, receiver: Tensor, n_receivers: int, smallest_weight: float
) -> tuple[Tensor, Tensor]:
    r"""Compute :math:`w_e^2 e^{\ell_e}` (E, F, H) and z (N, F, H), relative to the largest of each receiver."""
    logits = logits + 2.0 * torch.log(weight.clamp(min=smallest_weight))[:, None, None]
    index = receiver[:, None, None].expand_as(logits)
    largest = null_logit.detach().expand(n_receivers, -1, -1).contiguous()
    largest = largest.scatter_reduce(0, index, logits.detach(), "amax")
    return torch.exp(logits - largest.index_select(0, receiver)), torch.exp(null_logit - largest)


def native_envelope_softmax(
    logits: Tensor,
    weight: Tensor,
    null_mass: Tensor,
    receiver: Tensor,
    n_receivers: int,
    smallest_weight: float = SMALLEST_WEIGHT,
) -> Tensor:
    """Compute :func:`envelope_softmax` of tensors on a CPU, without a gate."""
    flat, null_logit = logits.flatten(1), torch.log(null_mass).flatten()
    alpha, _ = torch.ops.dpa4.edge_softmax(flat, weight, null_logit, receiver, n_receivers, smallest_weight)
    return alpha.view_as(logits)
