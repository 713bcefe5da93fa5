"""The native operators of the edge geometry and of the radial basis, against plain torch."""

import pytest
import torch
from torch import Tensor

from deepmd_dpa4.graph.cutoff import CutoffEnvelope
from deepmd_dpa4.graph.radial import BesselBasis
from deepmd_dpa4.ops.bessel import CpuEnvelopedBessel, EnvelopedBessel
from deepmd_dpa4.ops.measure_edges import MeasureEdges
from deepmd_dpa4.ops.native.load import load
from deepmd_dpa4.so3.wigner import WignerRows
from tests.support.backends import set_native
from tests.support.models import relative_error

RCUT, EXPONENT = 6.0, 5

pytestmark = pytest.mark.skipif(not load(), reason="no native kernels on this machine")


def features(lmax: int, mmax: int, native: bool, dtype: torch.dtype = torch.float64) -> MeasureEdges:
    module = MeasureEdges(RCUT, EXPONENT, 1e-7, WignerRows(lmax, mmax, dtype), None)
    set_native(module, native)
    return module


def vectors(count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Edges in all directions, some along the axes and some longer than the cutoff."""
    v = 2.0 * torch.randn(count, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    special = [[0, 0, 1.1], [0, 0, -1.3], [1.2, 0, 0], [0, -1.4, 0], [12.0, 12.0, 12.0], [0.9, -0.7, 0.0]]
    v[: len(special)] = torch.tensor(special, dtype=torch.float64)[:count]
    return v.to(dtype).requires_grad_(True)


def outputs(module: MeasureEdges, v: Tensor, weighted: bool) -> list[Tensor]:
    geometry = module(v, weighted, None)
    return [geometry.distance, geometry.weight, geometry.environment, geometry.zonal, geometry.compact]


def like(tensors: list[Tensor], seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.dtype) for x in tensors]
    return [x.requires_grad_(True) for x in drawn]


def derivatives(found: list[Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Values, first derivatives, and derivatives of those by inputs and cotangents."""
    cotangents = like(found, 1)
    first = list(torch.autograd.grad(found, inputs, cotangents, create_graph=True))
    directions = [x.detach() for x in like(first, 2)]
    second = torch.autograd.grad(first, inputs + cotangents, directions, materialize_grads=True)
    return [*found, *first, *second]


@pytest.mark.parametrize("lmax", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("mmax", [0, 1, 2])
@pytest.mark.parametrize("weighted", [True, False])
def test_geometry_equals_plain(lmax: int, mmax: int, weighted: bool) -> None:
    v = vectors(37)
    ours, plain = (derivatives(outputs(features(lmax, mmax, native), v, weighted), [v]) for native in (True, False))
    for x, y in zip(ours, plain, strict=True):
        assert x.shape == y.shape
        assert relative_error(x, y) < 1e-13


@pytest.mark.parametrize("count", [0, 1, 8, 33])
def test_any_number_of_edges(count: int) -> None:
    v = vectors(count)
    ours, plain = (derivatives(outputs(features(2, 1, native), v, True), [v]) for native in (True, False))
    for x, y in zip(ours, plain, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-13)


def test_scalars_only() -> None:
    v = vectors(9)
    ours, plain = (outputs(features(0, 0, native), v, True) for native in (True, False))
    for x, y in zip(ours, plain, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("lmax", [2, 5])
def test_geometry_in_single_precision(lmax: int) -> None:
    v = vectors(200, torch.float32)
    exact = v.detach().double().requires_grad_(True)
    ours = derivatives(outputs(features(lmax, 2, True, torch.float32), v, True), [v])
    plain = derivatives(outputs(features(lmax, 2, False), exact, True), [exact])
    for x, y in zip(ours, plain, strict=True):
        assert x.dtype == torch.float32
        assert relative_error(x.double(), y) < 1e-6


@pytest.mark.parametrize("used", [[0], [1, 2], [3], [4]])
def test_only_some_outputs_are_used(used: list[int]) -> None:
    v = vectors(20)
    found = {}
    for native in (True, False):
        selected = [outputs(features(3, 1, native), v, True)[k] for k in used]
        found[native] = derivatives(selected, [v])
    for x, y in zip(found[True], found[False], strict=True):
        assert relative_error(x, y) < 1e-13


def test_geometry_derivatives() -> None:
    module = features(3, 2, True)

    def function(v: Tensor) -> tuple[Tensor, ...]:
        return tuple(outputs(module, v, True))

    # finite differences across the equator would compare two frames
    every = vectors(12).detach()
    v = every[every[:, 2] != 0].requires_grad_(True)
    assert torch.autograd.gradcheck(function, (v,))
    assert torch.autograd.gradgradcheck(function, (v,))


def basis(r: Tensor, omega: Tensor) -> Tensor:
    return torch.ops.dpa4.bessel_basis(r, omega, RCUT, 7)


@pytest.mark.parametrize("n_radial", [3, 10, 16, 21])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_basis_equals_plain(n_radial: int, dtype: torch.dtype) -> None:
    r = torch.linspace(0.8, 7.0, 1501, dtype=torch.float64).to(dtype)
    module, envelope = BesselBasis(RCUT, n_radial, torch.float64), CutoffEnvelope(RCUT, 7)
    frequencies = module.adam_freqs.detach().to(dtype)
    with torch.no_grad():
        module.adam_freqs.copy_(frequencies)
    ours = [r.requires_grad_(True), frequencies.requires_grad_(True)]
    exact = [r.detach().double().requires_grad_(True), module.adam_freqs]
    found = derivatives([basis(*ours)], ours)
    plain = derivatives([module(exact[0]) * envelope(exact[0]).unsqueeze(1)], exact)
    for x, y in zip(found, plain, strict=True):
        assert relative_error(x.double(), y) < (1e-13 if dtype == torch.float64 else 2e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_basis_without_envelope(dtype: torch.dtype) -> None:
    """Also beyond the cutoff, where an envelope would vanish."""
    r = torch.linspace(0.4, 9.0, 301, dtype=torch.float64).to(dtype)
    module = EnvelopedBessel(RCUT, None)
    frequencies = BesselBasis(RCUT, 10, dtype).adam_freqs.detach()
    ours = [r.requires_grad_(True), frequencies.requires_grad_(True)]
    exact = [x.detach().double().requires_grad_(True) for x in ours]
    plain = derivatives([module(*exact)], exact)
    set_native(module, True)
    assert isinstance(module, CpuEnvelopedBessel)
    for x, y in zip(derivatives([module(*ours)], ours), plain, strict=True):
        assert relative_error(x.double(), y) < (1e-13 if dtype == torch.float64 else 2e-6)
    assert torch.equal(torch.jit.script(module)(*ours), module(*ours))


def test_basis_of_no_edges() -> None:
    r = torch.zeros(0, dtype=torch.float64, requires_grad=True)
    omega = torch.ones(1, 4, dtype=torch.float64, requires_grad=True)
    values = basis(r, omega)
    assert values.shape == (0, 4)
    assert torch.autograd.grad(values.sum(), omega)[0].abs().max() == 0.0


def test_basis_derivatives() -> None:
    r = torch.linspace(0.5, 6.5, 11, dtype=torch.float64, requires_grad=True)
    omega = torch.linspace(0.5, 4.0, 5, dtype=torch.float64).unsqueeze(0).requires_grad_(True)
    assert torch.autograd.gradcheck(basis, (r, omega))
    assert torch.autograd.gradgradcheck(basis, (r, omega))


def test_traces_with_symbolic_sizes() -> None:
    from torch.fx.experimental.proxy_tensor import make_fx

    module, omega = features(2, 1, True), BesselBasis(RCUT, 4, torch.float64).adam_freqs.detach()

    def gradient(v: Tensor) -> Tensor:
        v = v.detach().requires_grad_(True)
        found = outputs(module, v, True)
        energy = sum(x.square().sum() for x in found[1:]) + basis(found[0], omega).square().sum()
        return torch.autograd.grad(energy, v)[0]

    traced = make_fx(gradient, tracing_mode="symbolic", _allow_non_fake_inputs=True)(vectors(11).detach())
    assert "edge_geometry_backward" in traced.code
    longer = vectors(23).detach()
    torch.testing.assert_close(traced(longer), gradient(longer))
