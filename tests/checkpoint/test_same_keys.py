"""The state of a model is the same in both implementations: keys, shapes, order of parameters."""

import copy
from typing import Any

import pytest
import torch

import deepmd_dpa4.host  # noqa: F401
from deepmd_dpa4.checkpoint.count import is_parameter
from deepmd_dpa4.host import builtin
from deepmd_dpa4.host.build import build_model
from tests.support.checkpoints import ALL


def pair(name: str) -> tuple[Any, Any]:
    """Ours and official's."""
    ours = build_model(copy.deepcopy(ALL[name]))
    assert type(ours).__module__.startswith("deepmd_dpa4")
    return ours, builtin.build(copy.deepcopy(ALL[name]))


@pytest.mark.parametrize("name", ALL)
def test_states_load_strictly_both_ways(name: str) -> None:
    ours, theirs = pair(name)
    shapes = [{key: tuple(value.shape) for key, value in model.state_dict().items()} for model in (ours, theirs)]
    assert shapes[0] == shapes[1]
    ours.load_state_dict(theirs.state_dict())
    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key].to(value), value), key
    theirs.load_state_dict(ours.state_dict())
    # the state of an optimizer is kept by position
    names = [[key for key, _ in model.named_parameters()] for model in (ours, theirs)]
    assert names[0] == names[1]
    assert set(names[1]) == {key for key in theirs.state_dict() if is_parameter(key)}
