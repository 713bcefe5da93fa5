"""SO(2)-equivariant maps: layout of rows and the complex product."""

import pytest
import torch
from torch import Tensor

from deepmd_dpa4.nn.initial import Initializer
from deepmd_dpa4.nn.so2_linear import SO2Linear, join_orders, split_orders
from deepmd_dpa4.so3.layout import edge_rows

INIT = Initializer(torch.float64, 1)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize(("lmax", "mmax"), [(0, 0), (2, 1), (4, 3)])
@pytest.mark.parametrize("edges", [5, 0])
def test_split_and_join_are_inverse(lmax: int, mmax: int, streams: int, edges: int) -> None:
    features = random(edges, len(edge_rows(lmax, mmax)), streams * 4)
    groups = split_orders(features, lmax, mmax, streams)
    assert len(groups) == mmax + 1
    assert all(group.shape[:2] == (streams, edges) for group in groups)
    assert torch.equal(join_orders(groups, 4), features)


@pytest.mark.parametrize("streams", [1, 2])
def test_complex_product(streams: int) -> None:
    """Each output row by the formula, from the stored weights."""
    lmax, mmax, ci, co, edges = 3, 2, 3, 2, 4
    layer = SO2Linear(lmax, mmax, ci, co, streams, False, INIT)
    rows = edge_rows(lmax, mmax)
    x = random(edges, len(rows), streams * ci)
    y = join_orders(layer(split_orders(x, lmax, mmax, streams), None), co)

    def column(values: Tensor, l: int, m: int, stream: int, width: int) -> Tensor:
        return values[:, rows.index((l, m)), stream * width : (stream + 1) * width]

    m0 = layer.weight_m0.view(lmax + 1, ci, streams, lmax + 1, co)
    for f in range(streams):
        for l_out in range(lmax + 1):
            expected = sum(column(x, l, 0, f, ci) @ m0[l, :, f, l_out] for l in range(lmax + 1))
            torch.testing.assert_close(column(y, l_out, 0, f, co), expected)
        for m in range(1, mmax + 1):
            n = lmax - m + 1
            weight = layer.weight_m[m - 1].view(n, ci, streams, 2, n, co)
            for l_out in range(m, lmax + 1):
                minus, plus = 0.0, 0.0
                for l in range(m, lmax + 1):
                    u, v = weight[l - m, :, f, 0, l_out - m], weight[l - m, :, f, 1, l_out - m]
                    low, high = column(x, l, -m, f, ci), column(x, l, m, f, ci)
                    minus, plus = minus + low @ u - high @ v, plus + low @ v + high @ u
                torch.testing.assert_close(column(y, l_out, -m, f, co), minus)
                torch.testing.assert_close(column(y, l_out, m, f, co), plus)


def test_bias_acts_on_the_scalars_alone_and_scales_with_the_edge() -> None:
    layer = SO2Linear(2, 1, 3, 3, 2, True, INIT)
    torch.nn.init.constant_(layer.bias0, 0.7)
    groups = [torch.zeros(2, 4, 3 * 3), torch.zeros(2, 4, 2 * 2 * 3)]
    groups = [group.double() for group in groups]
    factor = random(2, 4, 3)
    out = layer(groups, factor)
    torch.testing.assert_close(out[0][:, :, :3], 0.7 * factor)
    assert out[0][:, :, 3:].abs().max() == 0.0
    assert out[1].abs().max() == 0.0
