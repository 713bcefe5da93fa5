"""Norms against their formulas."""

import torch

from deepmd_dpa4.nn.initial import Initializer
from deepmd_dpa4.nn.norm import EquivariantRMSNorm, ScalarRMSNorm
from tests.support.weights import perturb

INIT = Initializer(torch.float64, 1)


def features() -> torch.Tensor:
    return 3.0 * torch.randn(9, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1.0


def test_equivariant_norm_formula() -> None:
    norm = EquivariantRMSNorm(2, 6, 0.3, INIT)
    perturb(norm, scale=0.5)
    x = features()
    x[0] -= x[0].mean(dim=1, keepdim=True)
    degree = torch.tensor([0, 1, 1, 1, 2, 2, 2, 2, 2])
    share = 1.0 / ((2 * degree + 1) * 3 * 6).double()
    expected = x / torch.sqrt((x**2 * share[:, None, None]).sum(dim=(0, 2)) + 0.3)[None, :, None]
    expected = expected * norm.adam_scale[degree]
    expected[0] += norm.bias[0]
    torch.testing.assert_close(norm(features()), expected)


def test_every_degree_counts_equally() -> None:
    """With a vanishing delta the mean over degrees of the mean square per component is one."""
    y = EquivariantRMSNorm(2, 6, 0.0, INIT)(features())
    means = [y[l * l : (l + 1) ** 2].square().mean(dim=(0, 2)) for l in range(3)]
    torch.testing.assert_close(sum(means) / 3, torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(y[0].mean(dim=1), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-14)


def test_scalar_norm_formula() -> None:
    norm = ScalarRMSNorm([2, 6], INIT)
    perturb(norm, scale=0.5)
    x = torch.randn(4, 2, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-7) * norm.adam_scale
    torch.testing.assert_close(norm(x), expected)
    assert norm(torch.zeros(1, 2, 6, dtype=torch.float64)).abs().max() == 0.0
