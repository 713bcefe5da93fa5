"""Attention of a receiver over its edges, against the formula it stands for."""

import math

import pytest
import torch
from torch import Tensor

from deepmd_dpa4.ops.segment import segment_sum
from deepmd_dpa4.ops.softmax import envelope_softmax

RECEIVER = torch.tensor([0, 0, 0, 2, 2, 4])
N = 5  # receivers 1 and 3 have no edges


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive(logits: Tensor, weight: Tensor, gate: Tensor | None, null_mass: Tensor) -> Tensor:
    mass = weight[:, None, None] ** 2 * torch.exp(logits)
    if gate is not None:
        mass = mass * gate[:, None, None]
    alpha = torch.empty_like(mass)
    for edge, i in enumerate(RECEIVER.tolist()):
        alpha[edge] = mass[edge] / (null_mass + mass[i == RECEIVER].sum(0))
    return alpha


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    gate = torch.tensor([0.3, 1.0, 0.7, 0.0, 1.0, 0.2], dtype=torch.float64)
    return random(6, 2, 3), torch.linspace(0.05, 0.95, 6, dtype=torch.float64), gate, random(2, 3, seed=1).exp()


@pytest.mark.parametrize("gated", [True, False])
def test_formula(gated: bool) -> None:
    logits, weight, gate, null_mass = inputs()
    alpha = envelope_softmax(logits, weight, gate if gated else None, null_mass, RECEIVER, N)
    torch.testing.assert_close(alpha, naive(logits, weight, gate if gated else None, null_mass), rtol=1e-13, atol=0)
    assert bool((segment_sum(alpha, RECEIVER, N) < 1).all())


def test_no_edges_at_all() -> None:
    logits, _, _, null_mass = inputs()
    none = torch.zeros(0, dtype=torch.int64)
    alpha = envelope_softmax(logits[:0], torch.zeros(0, dtype=torch.float64), None, null_mass, none, N)
    assert alpha.shape == (0, 2, 3)


def test_weightless_and_closed_edges_do_not_count() -> None:
    logits, weight, gate, null_mass = inputs()
    weight = weight.clone()
    weight[1] = 0.0
    alpha = envelope_softmax(logits, weight, gate, null_mass, RECEIVER, N)
    assert alpha[1].abs().max() < 1e-30
    assert alpha[3].abs().max() == 0.0
    keep = torch.tensor([0, 2, 4, 5])
    fewer = envelope_softmax(logits[keep], weight[keep], gate[keep], null_mass, RECEIVER[keep], N)
    torch.testing.assert_close(alpha[keep], fewer, rtol=1e-13, atol=0)


@pytest.mark.parametrize("size", [800.0, -800.0])
def test_extreme_logits_neither_overflow_nor_vanish(size: float) -> None:
    logits, weight, _, null_mass = inputs()
    alpha = envelope_softmax(logits + size, weight, None, null_mass, RECEIVER, N)
    assert bool(torch.isfinite(alpha).all())
    total = segment_sum(alpha, RECEIVER, N)[[0, 2, 4]]
    torch.testing.assert_close(total, torch.full_like(total, 1.0 if size > 0 else 0.0), rtol=0, atol=1e-14)


def test_common_shift_equals_smaller_null_mass() -> None:
    logits, weight, gate, null_mass = inputs()
    shifted = envelope_softmax(logits + 2.0, weight, gate, null_mass, RECEIVER, N)
    smaller = envelope_softmax(logits, weight, gate, null_mass * math.exp(-2.0), RECEIVER, N)
    torch.testing.assert_close(shifted, smaller, rtol=1e-13, atol=0)


def test_derivatives() -> None:
    logits, weight, gate, null_mass = inputs()
    gate[3] = 0.5
    leaves = tuple(x.clone().requires_grad_(True) for x in (logits, weight, gate, null_mass))

    def attention(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
        return envelope_softmax(a, b, c, d, RECEIVER, N)

    assert torch.autograd.gradcheck(attention, leaves)
    assert torch.autograd.gradgradcheck(attention, leaves)


def test_derivatives_stay_finite_where_edges_vanish() -> None:
    logits, weight, gate, null_mass = inputs()
    weight = weight.clone()
    weight[[0, 4]] = torch.tensor([0.0, 1e-25], dtype=torch.float64)
    leaves = [x.clone().requires_grad_(True) for x in (logits, weight, gate, null_mass)]
    first = torch.autograd.grad(envelope_softmax(*leaves, RECEIVER, N).sum(), leaves, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), leaves, allow_unused=True)
    assert all(bool(torch.isfinite(g).all()) for g in [*first, *second] if g is not None)


def test_segment_sum() -> None:
    values = random(6, 2)
    total = segment_sum(values, RECEIVER, N)
    for i in range(N):
        torch.testing.assert_close(total[i], values[i == RECEIVER].sum(0))
