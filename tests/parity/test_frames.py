"""Agreement with the built-in DPA4 on unusual geometries and with zone bridging."""

import pytest

from tests.support import frames
from tests.support.official import assert_close, deviation, needs_official, pair_of_models
from tests.support.options import MINI, NANO, NEO, S2

pytestmark = needs_official

FRAMES = {
    "self images": frames.tiny_cell_frame,
    "isolated atom": frames.isolated_frame,
    "edges along the axes": frames.axis_frame,
    "open cluster": frames.cluster_frame,
}
BRIDGING = {
    "attention": (MINI, (0.8, 1.1)),
    "no attention": (MINI | {"n_atten_head": 0}, (0.8, 1.1)),
    "two heads": (MINI | {"n_atten_head": 2}, (0.8, 1.1)),
    "wide bridge": (NEO, (0.5, 1.6)),
    "nothing frozen": (NANO, (0.2, 0.4)),
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("options", [MINI, NEO, S2], ids=["mini", "neo", "s2"])
def test_frames(options: dict, name: str) -> None:
    assert_close(deviation(*pair_of_models(options), FRAMES[name]()))


@pytest.mark.parametrize("name", BRIDGING)
def test_zone_bridging(name: str) -> None:
    options, radii = BRIDGING[name]
    assert_close(deviation(*pair_of_models(options, bridging=radii), frames.close_pair_frame()))
