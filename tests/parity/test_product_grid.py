"""The product grid, whose tables the official implementation builds in single precision (by e3nn).

With its own tables in double precision this package agrees to single precision only. With the official tables put in
their place it agrees to rounding, so the tables are the whole difference.
"""

from typing import Any

import pytest
import torch

from deepmd_dpa4.model.potential import Potential
from deepmd_dpa4.so3.layout import edge_rows
from tests.support.frames import golden_frame
from tests.support.official import Deviation, assert_close, deviation, pair_of_models
from tests.support.options import FIRST_GENERATION, MINI, PAPER_PRO_40, Options

CASES: dict[str, Options] = {
    "paper 4.0-pro, narrow": PAPER_PRO_40 | {"channels": 32, "n_blocks": 2},
    "both branches": MINI
    | FIRST_GENERATION
    | {"lmax": 3, "mmax": 2, "s2_activation": [True, True], "lebedev_quadrature": False},
}


def use_official_tables(potential: Potential, official: Any, lmax: int, mmax: int) -> None:
    # the official order of the rows of an edge frame keeps all -m of an order before all +m
    theirs = [(l, 0) for l in range(lmax + 1)]
    for m in range(1, mmax + 1):
        theirs += [(l, sign * m) for sign in (-1, 1) for l in range(m, lmax + 1)]
    edge_order = torch.tensor([theirs.index(row) for row in edge_rows(lmax, mmax)])
    for own, reference in zip(potential.descriptor.blocks, official.atomic_model.descriptor.blocks, strict=True):
        # the shortcut for the last network holds for exact tables only
        own.scalar_output = False
        for ffn, other in zip(own.ffns, reference.ffns, strict=True):
            ffn.tables.to_grid.copy_(other.act.projector.to_grid_mat)
            ffn.tables.from_grid.copy_(other.act.projector.from_grid_mat)
        for layer, other in zip(own.so2_conv.non_linearities, reference.so2_conv.non_linearities, strict=False):
            if hasattr(layer, "to_grid"):
                layer.to_grid.copy_(other.projector.to_grid_mat[:, edge_order])
                layer.from_grid.copy_(other.projector.from_grid_mat[edge_order])


def largest(found: Deviation) -> float:
    return max(found.energy, found.force, found.virial)


@pytest.mark.parametrize("name", CASES)
def test_agrees_to_single_precision(name: str) -> None:
    found = deviation(*pair_of_models(CASES[name]), golden_frame(), gradients=False)
    assert largest(found) < 1e-5


@pytest.mark.parametrize("name", CASES)
def test_agrees_to_rounding_with_the_official_tables(name: str) -> None:
    potential, official = pair_of_models(CASES[name])
    use_official_tables(potential, official, CASES[name]["lmax"], CASES[name]["mmax"])
    assert_close(deviation(potential, official, golden_frame()))
