"""The product grid, whose tables the built-in DPA4 builds in single precision (by e3nn).

With its own tables in double precision this package agrees to single precision only. With the official tables put in
their place it agrees to rounding, so in the feed-forward networks the tables are the whole difference. The same is
not possible in the SO(2) layers: there an inexact rule makes the result depend on the roll of the edge frames, which
the two implementations choose differently.
"""

from typing import Any

import pytest

from deepmd_dpa4.model.potential import Potential
from tests.support.frames import golden_frame
from tests.support.official import assert_close, deviation, needs_official, pair_of_models
from tests.support.options import FIRST_GENERATION, MINI, PAPER_PRO_40, Options

pytestmark = needs_official

BOTH = MINI | FIRST_GENERATION | {"lmax": 3, "mmax": 2, "s2_activation": [True, True], "lebedev_quadrature": False}
CASES: dict[str, Options] = {
    "paper 4.0-pro, narrow": PAPER_PRO_40 | {"channels": 32, "n_blocks": 2},
    "feed-forward network only": BOTH | {"lebedev_quadrature": [True, False]},
    "both branches": BOTH,
}


def use_official_tables(potential: Potential, official: Any) -> None:
    for own, reference in zip(potential.descriptor.blocks, official.atomic_model.descriptor.blocks, strict=True):
        # the shortcut for the last network holds for exact tables only
        own.scalar_output = False
        for ffn, other in zip(own.ffns, reference.ffns, strict=True):
            ffn.act.tables.multiply.to_grid.copy_(other.act.projector.to_grid_mat)
            ffn.act.tables.multiply.from_grid.copy_(other.act.projector.from_grid_mat)


@pytest.mark.parametrize("name", CASES)
def test_agrees_to_single_precision(name: str) -> None:
    found = deviation(*pair_of_models(CASES[name]), golden_frame(), gradients=False)
    assert max(found.energy, found.force, found.virial) < 1e-5, found


@pytest.mark.parametrize("name", ["paper 4.0-pro, narrow", "feed-forward network only"])
def test_agrees_to_rounding_with_the_official_tables(name: str) -> None:
    potential, official = pair_of_models(CASES[name])
    use_official_tables(potential, official)
    assert_close(deviation(potential, official, golden_frame()))
