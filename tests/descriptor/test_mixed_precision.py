"""bfloat16 blocks: only matrix products lose precision, and everything stays differentiable twice."""

import pytest
import torch

from tests.support.frames import triclinic_frame
from tests.support.models import active_potential, graph_of
from tests.support.options import MINI, NANO, NEO, Options

CASES = {
    "nano": NANO,
    "mini": MINI,
    "neo": NEO,
    "biases": MINI | {"mlp_bias": True, "n_atten_head": 2},
    "full_rank_no_heads": MINI | {"radial_so2_rank": 0, "n_atten_head": 0},
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES.keys())
def test_blocks_run_in_bfloat16(options: Options) -> None:
    # the package switches autocast on for CUDA alone, so the precision of the blocks is set for the CPU here
    network = active_potential(options | {"precision": "float32"}, noise=0.1, dtype=torch.float32).descriptor
    graph = graph_of(triclinic_frame())
    full = network.features(graph, None)
    network.block_precision = lambda device: torch.autocast("cpu", torch.bfloat16)
    vector = graph.vector.clone().requires_grad_(True)
    features = network.features(graph._replace(vector=vector), None)
    assert features.dtype == torch.float32
    difference = (features - full).abs().max() / full.abs().max()
    assert 1e-5 < difference < 0.05
    (gradient,) = torch.autograd.grad(features.sum(), vector, create_graph=True)
    gradient.square().sum().backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_cpu_and_evaluation_keep_full_precision() -> None:
    network = active_potential(MINI | {"use_amp": True}).descriptor
    assert not network.train().mixed_precision(torch.device("cpu"))
    assert not network.eval().mixed_precision(torch.device("cuda"))
    assert network.train().mixed_precision(torch.device("cuda"))
