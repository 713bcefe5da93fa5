"""The published models agree with the built-in DPA4, with derivatives up to second order."""

import pytest

from tests.support import options as models
from tests.support.frames import golden_frame, triclinic_frame
from tests.support.models import on_kernels
from tests.support.official import assert_close, deviation, needs_official, pair_of_models
from tests.support.options import Options

pytestmark = needs_official

SMALL: dict[str, Options] = {
    "nano": models.NANO,
    "mini": models.MINI,
    "mini, edge_norm": models.MINI | {"edge_norm": True},
    "neo": models.NEO,
    "neo, no edge_norm": models.NEO | {"edge_norm": False},
    "air": models.AIR,
    "paper air": models.PAPER_AIR,
}
LARGE: dict[str, Options] = {
    "plus": models.PLUS,
    "pro": models.PRO,
    "paper plus": models.PAPER_PLUS,
    "paper 4.0.1-pro": models.PAPER_PRO_401,
}


@pytest.mark.parametrize("name", SMALL)
def test_small_model(name: str) -> None:
    assert_close(deviation(*pair_of_models(SMALL[name]), golden_frame()))


@pytest.mark.parametrize("name", ["nano", "mini", "neo"])
def test_small_model_in_a_skewed_cell(name: str) -> None:
    assert_close(deviation(*pair_of_models(SMALL[name]), triclinic_frame()))


@pytest.mark.parametrize("name", ["mini", "neo", "paper air"])
def test_small_model_on_native_kernels(name: str) -> None:
    potential, official = pair_of_models(SMALL[name])
    assert_close(deviation(on_kernels("native", potential), official, golden_frame()))


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_large_model(name: str) -> None:
    # These weights saturate one attention of "paper plus": its gradient is 1e-8 of the largest, and reordering the
    # edges alone changes it by 4e-10 of itself.
    negligible = 1e-7 if name == "paper plus" else 1e-9
    assert_close(deviation(*pair_of_models(LARGE[name]), golden_frame(), negligible=negligible))
