"""Which tensors a model takes from a checkpoint, which it lacks, and which belong to nothing that it has."""

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from deepmd_dpa4.config import parse_descriptor
from deepmd_dpa4.descriptor.network import Network
from deepmd_dpa4.errors import UserError
from deepmd_dpa4.nn.low_rank import is_factor

_SMALL = {"channels": 8, "lmax": 1, "n_blocks": 1, "mixing_layers": 2, "n_focus": 2, "mlp_bias": True}
_COVERING: tuple[dict[str, Any], ...] = (
    {
        "add_chg_spin_ebd": True,
        "sandwich_norm": [True] * 4,
        "ffn_so3_grid": False,
        "s2_activation": [False, False],
        "readout_layers": 2,
    },
    {"message_node_so3": True, "ffn_so3_grid": True, "grid_branch": 2, "so3_readout": "mlp", "readout_layers": 2},
    {"message_node_so3": True, "ffn_so3_grid": True, "grid_mlp": True, "so3_readout": "glu"},
    {"s2_activation": [True, True], "radial_so2_mode": "none"},
)
"""Options that together make every kind of parameter."""
_INDEX = re.compile(r"\.\d+(?=\.|$)")


class MismatchError(UserError, RuntimeError):
    """A checkpoint does not fit the options of the model that it is loaded into."""


@dataclass(frozen=True)
class Fit:
    """How the tensors of a checkpoint fit a model, by name and sorted.

    Parameters
    ----------
    missing : tuple of str
        Tensors of the model that the checkpoint lacks.
    foreign : tuple of str
        Tensors that belong to another model: parameters of options that this model does not use, and all that lie
        outside the descriptor.
    stale : tuple of str
        Tensors inside the descriptor that are no parameter of any option. Versions of DeePMD-kit differ in the
        constants that they store there, so they are left out.
    """

    missing: tuple[str, ...]
    foreign: tuple[str, ...]
    stale: tuple[str, ...]


def fit(found: Iterable[str], expected: Iterable[str], descriptor: str) -> Fit:
    """Compare the names of a checkpoint with those of a model.

    Parameters
    ----------
    found, expected : iterable of str
        Names in the checkpoint and in the model.
    descriptor : str
        How the names of the descriptor start.
    """
    found, expected = set(found), set(expected)
    unknown = found - expected
    stale = {
        name for name in unknown if name.startswith(descriptor) and not is_parameter(name.removeprefix(descriptor))
    }
    return Fit(tuple(sorted(expected - found)), tuple(sorted(unknown - stale)), tuple(sorted(stale)))


def is_parameter(name: str) -> bool:
    """Tell whether a name in the descriptor is that of a parameter of some option."""
    return is_factor(f".{name}") or _INDEX.sub(".#", name) in _parameter_kinds()


@functools.cache
def _parameter_kinds() -> frozenset[str]:
    """Names of the parameters of all options, without their indices."""
    return frozenset(
        _INDEX.sub(".#", name)
        for options in _COVERING
        for name, _ in Network(parse_descriptor(_SMALL | options), 1, torch.float32).named_parameters()
    )


def listed(names: Iterable[str], most: int = 5) -> str:
    """Write names in one line, the first of them if there are many."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
