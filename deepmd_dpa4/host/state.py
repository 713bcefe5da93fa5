"""Checkpoint keys: those of the official implementation, loaded strictly on every path."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from deepmd_dpa4.checkpoint.tables import NUCLEI, is_table
from deepmd_dpa4.descriptor.network import Network


def lenient_tables(network: Network) -> None:
    """Let ``network`` load with or without index tables, and follow the version of what it loads."""
    network.register_load_state_dict_pre_hook(_settle_tables)


def strict_loading(model: nn.Module) -> None:
    """Make ``model`` refuse state dictionaries that do not fit, also where the caller asks for lenient loading.

    DeePMD-kit's Python inference loads with ``strict=False`` and would run a model with random weights.
    """
    model.register_load_state_dict_pre_hook(_check_state)


def store_nuclei(model: nn.Module, charge: Callable[[], Tensor | None]) -> None:
    """Add nuclear charges, (ntypes,) float64, to the state of ``model`` if it has any, as official does."""

    def add(_: nn.Module, state: dict[str, Any], prefix: str, *more: Any) -> None:
        values = charge()
        if values is not None:
            state[prefix + NUCLEI] = values

    model.register_state_dict_post_hook(add)


def _settle_tables(network: Network, state: dict[str, Any], prefix: str, *_: Any) -> None:
    # checkpoints from before versions were recorded follow the oldest rules
    version = state.setdefault(prefix + "version_tensor", torch.tensor(1.0, dtype=torch.float64))
    network.set_version(float(version))
    buffers = dict(network.named_buffers())
    stored = network.state_dict()
    own_tables = {name for name in buffers if is_table(name) and name in stored}
    for key in [key for key in state if key.startswith(prefix)]:
        name = key[len(prefix) :]
        if (is_table(name) and name not in own_tables) or (name in buffers and name not in stored):
            del state[key]
    for name in own_tables:
        state[prefix + name] = buffers[name]


def _check_state(model: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    stored = model.state_dict()
    expected = {key for key in stored if not _optional(key)}
    transient = {name for name, _ in model.named_buffers()} - expected
    found = {key[len(prefix) :] for key in state if key.startswith(prefix)}
    missing = sorted(expected - found - {NUCLEI})
    unexpected = sorted(key for key in found - expected - transient if not _optional(key))
    if missing or unexpected:
        raise RuntimeError(
            "the checkpoint does not fit this DPA4 model\n"
            f"  missing keys: {', '.join(missing) or 'none'}\n  unexpected keys: {', '.join(unexpected) or 'none'}"
        )
    for name in transient & found:
        if name not in stored:
            del state[prefix + name]
    state.pop(prefix + NUCLEI, None)


def _optional(key: str) -> bool:
    return is_table(key) or key.endswith(("_extra_state", "version_tensor", "min_nbor_dist"))
