"""Combinations of options that no published model uses agree with the built-in DPA4."""

import numpy as np
import pytest
import torch

from tests.support.frames import golden_frame
from tests.support.models import build_potential
from tests.support.official import (
    assert_close,
    copy_weights,
    deviation,
    needs_official,
    official_model,
    pair_of_models,
)
from tests.support.options import MINI, NANO, Options

pytestmark = needs_official

NO_PRODUCTS = {"ffn_so3_grid": False, "s2_activation": [False, False], "grid_branch": 0, "so3_readout": "none"}

CHANGES: dict[str, Options] = {
    "schedules, wide streams, four heads, S2 in both branches, all norms, biases": {
        "l_schedule": [3, 3, 2],
        "m_schedule": [2, 1, 1],
        "n_focus": 2,
        "focus_dim": 24,
        "n_atten_head": 4,
        "radial_so2_rank": 2,
        "s2_activation": [True, True],
        "ffn_so3_grid": False,
        "message_node_so3": False,
        "grid_branch": 0,
        "ffn_blocks": 2,
        "sandwich_norm": [True] * 4,
        "mlp_bias": True,
        "edge_norm": True,
    },
    "biases and two streams": {"mlp_bias": True, "n_focus": 2},
    "biases without rotation": {"mlp_bias": True, "mixing_layers": 0, "radial_so2_mode": "none"},
    "kmax 2, mmax 2, projected products": {
        "lmax": 3,
        "kmax": 2,
        "mmax": 2,
        "grid_mlp": [False, True, True],
        "grid_branch": 0,
        "readout_layers": 2,
    },
    "full order": {"mmax": None},
    "several branches": {"grid_branch": [0, 2, 3]},
    "degree mode, four heads": {"radial_so2_mode": "degree", "n_atten_head": 4},
    "no attention, three streams, rank 0, gaussian, no seed": NO_PRODUCTS
    | {"n_atten_head": 0, "n_focus": 3, "radial_so2_rank": 0, "basis_type": "gaussian", "use_env_seed": False},
    "no rotation": {"mixing_layers": 0, "radial_so2_mode": "none"},
    "no mixing layers": {"mixing_layers": 0},
    "glu read-out": {"so3_readout": "glu"},
    "ungated, tanh": NO_PRODUCTS | {"glu_activation": False, "activation_function": "tanh"},
    "degree 0": {"lmax": 0, "mmax": 0, "kmax": 0},
    "kmax 0": {"kmax": 0},
    "two streams without mixing of degrees": {"radial_so2_mode": "none", "n_focus": 2},
    "deep radial network": {"radial_mlp": [0, 16], "edge_norm": True, "env_exp": [5, 4]},
    "narrow feed-forward network": {"ffn_neurons": 24, "n_radial": 8},
    "wide embedding": {"channels": 72},
}
FITTING: dict[str, Options] = {
    "case film": {"dim_case_embd": 3, "case_film_embd": True},
    "case code appended": {"dim_case_embd": 3, "neuron": [0, 8]},
    "linear with bias": {"neuron": [], "bias_out": True},
}


@pytest.mark.parametrize("name", CHANGES)
def test_descriptor_options(name: str) -> None:
    assert_close(deviation(*pair_of_models(MINI | CHANGES[name]), golden_frame()))


class One(torch.nn.Module):
    """In place of an envelope."""

    def forward(self, r: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(r)


@pytest.mark.parametrize("basis", ["bessel", "gaussian"])
def test_one_envelope(basis: str) -> None:
    """The built-in DPA4 has two, of which the one of the basis is taken out."""
    options = NANO | {"basis_type": basis}
    official = official_model(options, {}, None)
    official.atomic_model.descriptor.radial_basis.envelope = One()
    potential = build_potential(options | {"env_exp": 5}, {"precision": "float64"})
    copy_weights(official, potential)
    assert_close(deviation(potential, official, golden_frame()))


@pytest.mark.parametrize("name", FITTING)
def test_fitting_options(name: str) -> None:
    assert_close(deviation(*pair_of_models(MINI, FITTING[name]), golden_frame()))


def test_cutoff_that_single_precision_cannot_represent() -> None:
    """The official edge envelope rounds the cutoff to single precision; done here too, the models agree."""
    potential, official = pair_of_models(MINI | {"rcut": 5.1})
    frame = golden_frame()
    exact = deviation(potential, official, frame, 5.1, gradients=False)
    assert exact.force < 1e-6
    potential.descriptor.measure_edges.edge_envelope.rcut = float(np.float32(5.1))
    assert_close(deviation(potential, official, frame, 5.1))
