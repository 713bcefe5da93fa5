"""Envelope, inner clamp and radial bases."""

import math

import pytest
import torch
from torch import Tensor

from deepmd_dpa4.graph.cutoff import CutoffEnvelope, InnerClamp
from deepmd_dpa4.graph.radial import BesselBasis, GaussianBasis


def derivatives(function, r: float, count: int) -> list[float]:
    """Value and the first ``count`` derivatives at r."""
    x = torch.tensor([r], dtype=torch.float64, requires_grad=True)
    value: Tensor = function(x)
    found = [value.item()]
    for _ in range(count):
        (value,) = torch.autograd.grad(value.sum(), x, create_graph=True) if value.requires_grad else (0 * x,)
        found.append(value.item())
    return found


@pytest.mark.parametrize("exponent", [1, 5, 7])
def test_envelope_vanishes_with_three_derivatives(exponent: int) -> None:
    envelope = CutoffEnvelope(6.0, exponent)
    assert derivatives(envelope, 0.0, 0)[0] == pytest.approx(math.comb(3, 3), abs=1e-14)
    inside = derivatives(envelope, 6.0 - 1e-7, 4)
    assert [abs(x) < 1e-5 for x in inside] == [True] * 4 + [False]
    assert derivatives(envelope, 6.0 + 1e-9, 3) == [0.0] * 4
    assert envelope(torch.tensor([1e6], dtype=torch.float64)).item() == 0.0


@pytest.mark.parametrize("exponent", [5, 7])
def test_envelope_is_flat_at_the_origin_and_falls(exponent: int) -> None:
    envelope = CutoffEnvelope(6.0, exponent)
    assert max(abs(x) for x in derivatives(envelope, 1e-6, exponent - 1)[1:]) < 1e-4
    values = envelope(torch.linspace(0, 6, 200, dtype=torch.float64))
    assert bool((values.diff() <= 1e-15).all())


def test_clamp_has_three_continuous_derivatives() -> None:
    clamp = InnerClamp(0.5, 0.8)
    frozen = derivatives(clamp, 0.5 - 1e-9, 3)
    assert frozen == [0.5, 0.0, 0.0, 0.0]
    assert derivatives(clamp, 0.5 + 1e-7, 3) == pytest.approx(frozen, abs=2e-2)
    free = derivatives(clamp, 0.8 + 1e-9, 3)
    assert free == pytest.approx([0.8, 1.0, 0.0, 0.0], abs=1e-8)
    assert derivatives(clamp, 0.8 - 1e-7, 3) == pytest.approx(free, abs=2e-2)
    assert clamp(torch.tensor([0.1, 3.0])).tolist() == pytest.approx([0.5, 3.0])


def test_clamp_is_monotonic() -> None:
    values = InnerClamp(0.5, 0.8)(torch.linspace(0.4, 1.0, 300, dtype=torch.float64))
    assert bool((values.diff() >= 0).all())


def test_gate_opens_smoothly_across_the_bridge() -> None:
    clamp = InnerClamp(0.5, 0.8)
    assert derivatives(clamp.gate, 0.5, 3) == pytest.approx([0.0] * 4, abs=1e-12)
    assert derivatives(clamp.gate, 0.8 - 1e-9, 3) == pytest.approx([1.0, 0.0, 0.0, 0.0], abs=1e-3)
    assert clamp.gate(torch.tensor([0.65])).item() == pytest.approx(0.5, abs=1e-6)


def test_bessel() -> None:
    r = torch.tensor([0.7, 3.1, 6.0], dtype=torch.float64)
    values = BesselBasis(6.0, 4, torch.float64)(r)
    for n in range(1, 5):
        torch.testing.assert_close(values[:, n - 1], torch.sin(n * math.pi * r / 6.0) / r)
    assert values[2].abs().max() < 1e-15


def test_gaussian() -> None:
    r = torch.tensor([0.7, 3.1, 6.0], dtype=torch.float64)
    values = GaussianBasis(6.0, 4, torch.float64)(r)
    for n, centre in enumerate((0.0, 2.0, 4.0, 6.0)):
        torch.testing.assert_close(values[:, n], torch.exp(-((r - centre) ** 2) / (2 * 2.0**2)))
