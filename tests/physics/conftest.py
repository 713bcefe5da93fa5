"""Every law is asserted for these models; their weights are perturbed so that each branch is active."""

import pytest
import torch

from deepmd_dpa4.model.potential import Potential
from tests.support.models import KERNELS, active_potential, on_kernels
from tests.support.options import CONTACTS, MINI, NANO, NEO, S2, TINY

MODELS = {
    "nano": (NANO, None),
    "mini": (MINI, None),
    "neo": (NEO, None),
    "s2": (S2 | {"s2_activation": [True, True], "basis_type": "gaussian/fix", "env_exp": 5}, None),
    "zbl": (MINI, (0.8, 1.1)),
    "zbl in contacts": (TINY, CONTACTS),
}


@pytest.fixture(scope="session", params=KERNELS)
def kernels(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session", params=MODELS)
def potential(request: pytest.FixtureRequest, kernels: str) -> Potential:
    options, bridging = MODELS[request.param]
    return on_kernels(kernels, active_potential(options, bridging=bridging))


@pytest.fixture(scope="session", params=MODELS)
def single_precision(request: pytest.FixtureRequest, kernels: str) -> Potential:
    # less noise: the networks above amplify rounding errors more than a trained one does
    options, bridging = MODELS[request.param]
    single = active_potential(options | {"precision": "float32"}, noise=0.1, bridging=bridging, dtype=torch.float32)
    return on_kernels(kernels, single)
