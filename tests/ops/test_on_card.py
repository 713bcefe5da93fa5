"""On a graphics card every way to run the network gives the numbers of the CPU; skipped where there is none."""

from typing import Any

import pytest
import torch

from benchmarks import gpu_steps

pytestmark = pytest.mark.gpu
NETWORKS = ["tiny", "mini", "neo"]


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda", 0)


@pytest.mark.parametrize("network", NETWORKS)
def test_every_way_is_right(network: str, device: torch.device) -> None:
    rows = list(gpu_steps.check(network, device, 16, gpu_steps.ways(device)))
    assert len(rows) > 4
    assert not [row for row in rows if not row["passed"]]


def test_nothing_is_compiled_again(device: torch.device) -> None:
    (row,) = gpu_steps.mixed_sizes("tiny", device, [64, 16, 200, 24])
    assert row["graphs"] > 0 and row["passed"]


@pytest.mark.parametrize("step", ["training", "evaluation"])
def test_memory_is_measured(step: str, device: torch.device) -> None:
    rows: list[dict[str, Any]] = list(gpu_steps.measure("tiny", device, step, [64], [gpu_steps.Way()]))
    assert rows[0]["peak_mib"] > 0
