"""Checkpoint keys: those of the built-in DPA4, loaded strictly on every path."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from deepmd_dpa4.checkpoint.expected_tensors import DESCRIPTOR
from deepmd_dpa4.checkpoint.index_tables import NUCLEI, is_table
from deepmd_dpa4.checkpoint.match_keys import MismatchError, fit, listed
from deepmd_dpa4.checkpoint.pt_expt_names import is_exportable, translated
from deepmd_dpa4.descriptor.network import VERSION, Network

log = logging.getLogger("deepmd.dpa4")


def lenient_tables(network: Network) -> None:
    """Let ``network`` load with or without index tables, and follow the version of what it loads."""
    network.register_load_state_dict_pre_hook(_settle_tables)


def both_dialects(model: nn.Module) -> None:
    """Let ``model`` load checkpoints of DeePMD-kit's backend ``pt-expt`` too."""
    model.register_load_state_dict_pre_hook(_translate)


def strict_loading(model: nn.Module) -> None:
    """Make ``model`` refuse state dictionaries that do not fit, also where the caller asks for lenient loading.

    DeePMD-kit's Python inference loads with ``strict=False`` and would run a model with random weights.
    """
    model.register_load_state_dict_pre_hook(_check_state)


def store_nuclei(model: nn.Module, charge: Callable[[], Tensor | None]) -> None:
    """Add nuclear charges, (ntypes,) float64, to the state of ``model`` if it has any, as the built-in DPA4 does."""

    def add(_: nn.Module, state: dict[str, Any], prefix: str, *more: Any) -> None:
        values = charge()
        if values is not None:
            state[prefix + NUCLEI] = values

    model.register_state_dict_post_hook(add)


def _translate(model: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    own = {key: value for key, value in state.items() if key.startswith(prefix)}
    if is_exportable(own):
        for key in own:
            del state[key]
        state.update(translated(own))


def _settle_tables(network: Network, state: dict[str, Any], prefix: str, *_: Any) -> None:
    # checkpoints from before versions were recorded follow the oldest rules
    version = float(state.setdefault(prefix + "version_tensor", torch.tensor(1.0, dtype=torch.float64)))
    if version > VERSION:
        raise MismatchError(
            f"`version_tensor` of the checkpoint is {version:g} but must be at most {VERSION:g}: it follows rules of a "
            "newer DPA4, which this deepmd-dpa4 does not know"
        )
    network.set_version(version)
    buffers = dict(network.named_buffers())
    stored = network.state_dict()
    own_tables = {name for name in buffers if is_table(name) and name in stored}
    for key in [key for key in state if key.startswith(prefix)]:
        name = key[len(prefix) :]
        if (is_table(name) and name not in own_tables) or (name in buffers and name not in stored):
            del state[key]
    for name in own_tables:
        state[prefix + name] = buffers[name]
    _drop_stale(stored, state, prefix)


def _drop_stale(stored: Mapping[str, Any], state: dict[str, Any], prefix: str) -> None:
    names = [key[len(prefix) :] for key in state if key.startswith(prefix)]
    stale = fit(names, stored, "").stale
    for name in stale:
        del state[prefix + name]
    if stale:
        log.info("left out %d tensors of the checkpoint that are no parameters of DPA4: %s", len(stale), listed(stale))


def _check_state(model: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    stored = model.state_dict()
    expected = {key for key in stored if not _optional(key)}
    transient = {name for name, _ in model.named_buffers()} - expected
    found = {key[len(prefix) :] for key in state if key.startswith(prefix)}
    # nuclear charges follow from the elements, so a checkpoint may lack them
    given = {key for key in found - transient if not _optional(key)} | (expected & {NUCLEI})
    compared = fit(given, expected, DESCRIPTOR)
    if compared.missing or compared.foreign:
        raise MismatchError(
            "the checkpoint does not fit this DPA4 model. An input has to repeat the options of the network that "
            "`dpa4 info CHECKPOINT` shows, or take them by `--use-pretrain-script`; a checkpoint that does not fit its "
            "own options is damaged\n"
            f"  missing keys: {', '.join(compared.missing) or 'none'}\n"
            f"  unexpected keys: {', '.join(compared.foreign) or 'none'}"
        )
    for name in transient & found:
        if name not in stored:
            del state[prefix + name]
    state.pop(prefix + NUCLEI, None)


def _optional(key: str) -> bool:
    return is_table(key) or key.endswith(("_extra_state", "version_tensor", "min_nbor_dist"))
