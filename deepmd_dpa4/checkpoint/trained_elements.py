"""Elements that a model was trained for; a type map may hold others too."""

from collections.abc import Mapping, Sequence
from typing import Any

SMALLEST_BIAS = 1e-6
"""Energy in eV below which the bias of a type counts as not fitted."""


def trained_types(params: Mapping[str, Any], bias: Sequence[float]) -> list[int]:
    """Find the types that the training data held.

    Parameters
    ----------
    params : mapping
        The ``model`` section, whose ``info/observed_type`` lists the elements of the last training.
    bias : sequence of float
        Energy bias of each type in eV: that of an element without data stays zero. It decides where there is no list.

    Returns
    -------
    list[int]
        Indices into ``type_map``; all of them if nothing tells.
    """
    names = [str(name) for name in params["type_map"]]
    observed = (params.get("info") or {}).get("observed_type")
    if observed:
        found = [index for index, name in enumerate(names) if name in observed]
    else:
        found = [index for index, energy in enumerate(bias) if abs(energy) > SMALLEST_BIAS]
    return found or list(range(len(names)))


def untrained_elements(params: Mapping[str, Any], bias: Sequence[float]) -> list[str]:
    """Name the elements of the type map that the training data lacked."""
    trained = set(trained_types(params, bias))
    return [str(name) for index, name in enumerate(params["type_map"]) if index not in trained]
