r"""Low-rank updates of frozen weights in fine-tuning (theory 8).

A weight W of shape (..., in, out) is used as

.. math:: W + s\,(B A)^T, \qquad s = \alpha / r,

with A (..., r, in) drawn from N(0, 1/sqrt(r)) and B (..., out, r) starting from zero, so that training starts from W.
Source: LoRA, arXiv:2106.09685.
"""

import math
import re
from collections.abc import MutableMapping

import torch
from torch import Tensor, nn

from deepmd_dpa4.nn.initial import Initializer

SCALING = "lora_scaling"
"""Buffer of an updated layer, which holds s."""

_FIRST_FACTOR = re.compile(r"(.*\.)A_(by_l|m0|m\.\d+)")
_FACTOR = re.compile(r"\.([AB]_(by_l|m0|m\.\d+)|lora_scaling)$")
_WEIGHTS = {"by_l": "weight", "m0": "weight_m0"}


def is_factor(key: str) -> bool:
    """Tell whether a key is that of a factor or scaling."""
    return _FACTOR.search(key) is not None


def draw_factors(weight: Tensor, rank: int, init: Initializer) -> tuple[nn.Parameter, nn.Parameter]:
    """Draw factors A and B of an update of ``weight``, on its device."""
    lead, (rows, columns) = list(weight.shape[:-2]), weight.shape[-2:]
    first = init.normal([*lead, rank, rows], 1.0 / math.sqrt(rank))
    second = init.constant([*lead, columns, rank], 0.0)
    return nn.Parameter(first.data.to(weight)), nn.Parameter(second.data.to(weight))


def updated(weight: Tensor, first: Tensor, second: Tensor, scaling: Tensor) -> Tensor:
    """Compute the weight in use, W + s (B A)^T."""
    return weight + (second @ first).transpose(-1, -2) * scaling


def fold(state: MutableMapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """Replace the weights of a state dictionary by those in use, and remove the factors.

    Parameters
    ----------
    state : mutable mapping
        Changed; its tensors are not.
    prefix : str
        Keys that start otherwise are left alone.

    Returns
    -------
    dict[str, Tensor]
        Factors, scalings and weights as they were, by key.

    Raises
    ------
    ValueError
        If a factor lacks its counterpart or its weight.
    """
    found = [match for key in state if key.startswith(prefix) and (match := _FIRST_FACTOR.fullmatch(key))]
    before: dict[str, Tensor] = {}
    for match in found:
        layer, name = match.groups()
        first, second = match.group(), f"{layer}B_{name}"
        weight = layer + _WEIGHTS.get(name, f"weight_{name}")
        for key in (second, weight):
            if key not in state:
                raise ValueError(f"the checkpoint holds {first} but not {key}")
        before |= {key: state[key] for key in (first, second, weight)}
        scaling = state.get(layer + SCALING, torch.tensor(1.0)).to(state[weight])
        state[weight] = updated(state[weight], state[first], state[second], scaling)
    for layer in {match.group(1) for match in found}:
        if layer + SCALING in state:
            before[layer + SCALING] = state.pop(layer + SCALING)
    for match in found:
        del state[match.group()], state[f"{match.group(1)}B_{match.group(2)}"]
    return before
