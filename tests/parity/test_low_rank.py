"""Networks with low-rank updates agree with the official ones, and train the same parameters."""

from typing import Any

import pytest
import torch
from deepmd.pt.model.descriptor.sezm_nn import apply_lora_to_sezm

from deepmd_dpa4.config.model import LowRankConfig
from deepmd_dpa4.descriptor.low_rank import adapt, is_adapted
from deepmd_dpa4.nn.low_rank import fold
from tests.support.frames import triclinic_frame
from tests.support.models import KERNELS, evaluate, on_kernels, relative_error
from tests.support.official import PREFIX, assert_close, copy_weights, deviation, needs_official, pair_of_models
from tests.support.options import MINI, PAPER_PRO_40, S2, Options
from tests.support.weights import fill_golden

pytestmark = needs_official

SMALL = {"channels": 8, "sel": 120, "n_blocks": 2}
CONFIG = LowRankConfig(rank=2, alpha=3.0)
CASES: dict[str, Options] = {
    "mini": MINI | SMALL,
    "streams, biases": MINI | SMALL | {"n_focus": 2, "mlp_bias": True},
    "grid in the edge frame": MINI | SMALL | {"s2_activation": [True, True], "message_node_so3": False},
    "grids on S2": S2 | SMALL,
    "first generation": PAPER_PRO_40 | SMALL | {"lebedev_quadrature": True},
    "branches of the grids": MINI | SMALL | {"basis_type": "gaussian", "so3_readout": "glu", "grid_mlp": [True] * 3},
}


def adapted(options: Options) -> tuple[Any, Any]:
    potential, official = pair_of_models(options)
    apply_lora_to_sezm(official, rank=CONFIG.rank, alpha=CONFIG.alpha)
    fill_golden(official.named_parameters())
    adapt(potential.descriptor, CONFIG)
    copy_weights(official, potential)
    return potential, official


@pytest.mark.parametrize("case", CASES)
def test_networks_agree(case: str) -> None:
    potential, official = adapted(CASES[case])
    trained = [
        {name.removeprefix(PREFIX): parameter.requires_grad for name, parameter in model.named_parameters()}
        for model in (potential, official)
    ]
    assert trained[0] == trained[1]
    for parameter in (*potential.parameters(), *official.parameters()):
        parameter.requires_grad = True
    assert_close(deviation(potential, official, triclinic_frame()))


@pytest.mark.parametrize("kernels", KERNELS)
def test_folding_keeps_the_potential(kernels: str) -> None:
    potential, _ = adapted(CASES["streams, biases"])
    on_kernels(kernels, potential)
    frame = triclinic_frame()
    before = evaluate(potential, frame)
    state = potential.state_dict()
    stored = fold(state)
    plain, _ = pair_of_models(CASES["streams, biases"])
    assert not is_adapted(plain) and plain.state_dict().keys() == state.keys()
    plain.load_state_dict(state)
    after = evaluate(on_kernels(kernels, plain), frame)
    for value, reference in zip(after, before, strict=True):
        assert relative_error(value, reference) < 1e-12
    assert all(torch.equal(value, potential.state_dict()[key]) for key, value in stored.items())


def test_updates_vanish_at_first() -> None:
    potential, _ = pair_of_models(CASES["mini"])
    frame = triclinic_frame()
    before = evaluate(potential, frame)
    adapt(potential.descriptor, CONFIG)
    assert torch.equal(evaluate(potential, frame).force, before.force)


def test_incomplete_factors_are_refused() -> None:
    state = adapted(CASES["mini"])[0].state_dict()
    gone = next(key for key in state if key.endswith("B_by_l"))
    del state[gone]
    with pytest.raises(ValueError, match=f"but not {gone}"):
        fold(state)
