"""TorchScript computes what eager does."""

import deepmd.pt  # noqa: F401  (registers the operator of the ghost exchange, which the script compiler looks up)
import pytest
import torch

from deepmd_dpa4.model.potential import Potential
from tests.support.frames import cluster_frame, golden_frame
from tests.support.models import graph_of, relative_error


@pytest.mark.slow
def test_scripted_equals_eager(potential: Potential) -> None:
    scripted = torch.jit.script(potential)
    for build in (golden_frame, cluster_frame, golden_frame):
        # the second and third call run the profiled and optimised graph
        graph = graph_of(build())
        eager, script = potential(graph, 1), scripted(graph, 1)
        for name in ("energy", "force", "virial", "atom_energy"):
            assert relative_error(script[name], eager[name]) < 1e-13, name
