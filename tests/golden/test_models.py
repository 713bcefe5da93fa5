"""Energies, forces and virials of six models with weights given by a formula (theory 10)."""

from decimal import Decimal

import pytest

from tests.support.frames import golden_frame
from tests.support.models import KERNELS, evaluate, golden_potential, on_kernels
from tests.support.options import MINI, NEO, S2

# options, radii of zone bridging, energy, force on atom 0, force on atom 4, diagonal of the virial, as printed
CASES = {
    "mini": (
        MINI,
        None,
        "-27.28980728144",
        "10.2113284018 26.8427458912 -0.2535008737",
        "-33.6685345816 -4.7541086628 14.3715103839",
        "-71.257049313 -47.625046095 -6.623099137",
    ),
    "mini, edge_norm": (
        MINI | {"edge_norm": True},
        None,
        "-3.76999828062",
        "28.6943794274 0.2645005155 -8.2328705160",
        "-4.6753092880 -5.4949001282 -3.0175167507",
        "6.569947502 -42.194562500 25.023065958",
    ),
    "mini, fixed basis, one envelope": (
        MINI | {"basis_type": "bessel/fix", "env_exp": 5},
        None,
        "-27.52129820234",
        "10.2621264673 26.3687519403 0.1319386838",
        "-33.1705215799 -4.4175987268 14.0791896196",
        "-70.893115598 -45.899967218 -5.990596000",
    ),
    "neo": (
        NEO,
        None,
        "-536.04091563883",
        "-57.0712728882 -482.8071809123 -3.7766439355",
        "564.4283388541 100.5185302248 -188.9793856349",
        "937.479813653 600.974415327 -119.046246607",
    ),
    "s2": (
        S2,
        None,
        "1531.49488494750",
        "-836.4551857356 -717.6134718292 -60.3706161744",
        "941.5677096603 473.1826325590 -401.9054613407",
        "1891.085070313 1848.666546788 807.604526256",
    ),
    "mini with zbl": (
        MINI,
        (0.8, 1.1),
        "22.34048269732",
        "21.4936222744 -49.9266912025 -9.2548192187",
        "11.5777760912 8.9451807891 -3.8573132091",
        "1.468186456 54.941745860 -0.110096202",
    ),
}


def assert_printed(values: list[float], printed: str) -> None:
    """Agreement to a relative 1e-11 of the largest entry, or to the last digit where fewer are printed."""
    expected = [Decimal(text) for text in printed.split()]
    largest = max(abs(float(number)) for number in expected)
    for value, number in zip(values, expected, strict=True):
        last_digit = 10.0 ** number.as_tuple().exponent
        assert abs(value - float(number)) <= 0.5 * last_digit + 1e-11 * largest


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("case", CASES)
def test_energy_force_virial(case: str, kernels: str) -> None:
    options, bridging, energy, force_0, force_4, virial = CASES[case]
    result = evaluate(on_kernels(kernels, golden_potential(options, bridging)), golden_frame())
    assert_printed([result.energy.item()], energy)
    assert_printed(result.force[0].tolist(), force_0)
    assert_printed(result.force[4].tolist(), force_4)
    assert_printed(result.virial.diagonal().tolist(), virial)
