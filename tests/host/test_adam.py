"""Adam and AdamW of CPUs update all parameters at once, to the same numbers."""

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from deepmd.pt.utils.env import DEVICE

from deepmd_dpa4.host.adam import fuse

pytestmark = pytest.mark.skipif(DEVICE.type != "cpu", reason="for CPUs only")


def steps(optimizer: torch.optim.Optimizer, count: int) -> list[torch.Tensor]:
    """Parameters after some steps with gradients that depend on them."""
    parameters = optimizer.param_groups[0]["params"]
    for step in range(count):
        for index, parameter in enumerate(parameters):
            parameter.grad = torch.sin(parameter.detach() + step + index)
        optimizer.step()
    return [parameter.detach().clone() for parameter in parameters]


def made(kind: Any, dtype: torch.dtype) -> torch.optim.Optimizer:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3,), (4, 5), (2, 3, 4)]
    parameters = [torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in shapes]
    return kind(parameters, lr=1e-2, weight_decay=1e-2, betas=(0.9, 0.95), fused=False)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-13), (torch.float32, 1e-6)])
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_same_steps(kind: Any, dtype: torch.dtype, bound: float) -> None:
    plain, fused = made(kind, dtype), made(kind, dtype)
    fuse(SimpleNamespace(optimizer=fused))
    for one, other in zip(steps(plain, 5), steps(fused, 5), strict=True):
        torch.testing.assert_close(other, one, rtol=bound, atol=bound)
    # a restart from the state of a training that was not fused, and the other way round
    state = copy.deepcopy(plain.state_dict()), copy.deepcopy(fused.state_dict())
    fused.load_state_dict(state[0])
    fuse(SimpleNamespace(optimizer=fused))
    plain.load_state_dict(state[1])
    for one, other in zip(steps(plain, 3), steps(fused, 3), strict=True):
        torch.testing.assert_close(other, one, rtol=bound, atol=bound)


def test_one_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    optimizer = made(torch.optim.AdamW, torch.float32)
    fuse(SimpleNamespace(optimizer=SimpleNamespace(optim=optimizer)))
    fused = torch._fused_adamw_
    monkeypatch.setattr(
        torch, "_fused_adamw_", lambda *args, **more: calls.append(len(args[0])) or fused(*args, **more)
    )
    steps(optimizer, 1)
    assert calls == [3]


def test_other_optimizers_are_left_alone() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))])
    fuse(SimpleNamespace(optimizer=optimizer))
    assert not optimizer.param_groups[0].get("fused")
