"""Names that DeePMD-kit's backend ``pt-expt`` gives to the tensors of DPA4.

The networks of the backends ``pt`` and ``pt-expt`` are the same; their modules for plain linear maps and for fitting
nets have other names.
"""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

_FITTING = re.compile(r"\.fitting_net\.nets\.(?:_module_|_)?networks\.(\d+)\.")
_HIDDEN = re.compile(r"\.hidden_layers\.(\d+)\.(w|b)$")
_LINEAR = {"w": "matrix", "b": "bias"}
_DERIVED = ".type_mask"
_CONSTANT = "atomic_model.dens_force_rmsd"


def is_exportable(names: Iterable[str]) -> bool:
    """Tell whether names of tensors are those of the backend ``pt-expt``, which calls weights ``w``."""
    return any(name.endswith(".w") for name in names)


def translated(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a DPA4 model of the backend ``pt-expt`` to what the backend ``pt`` calls them.

    Parameters
    ----------
    tensors : mapping
        Tensors by name, those of other branches or parts included.
    """
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if not name.endswith(_DERIVED):
            found[pt_name(name)] = value
    for name in list(found):
        start, model, rest = name.partition("atomic_model.")
        if model and rest == "out_bias":
            found.setdefault(start + _CONSTANT, torch.tensor(1.0, dtype=torch.float64))
    return found


def pt_name(name: str) -> str:
    """Translate one name."""
    name = _FITTING.sub(r".fitting_net.filter_layers.networks.\1.", name)
    name = _HIDDEN.sub(r".hidden_layers.\1.linear.\2", name)
    start, dot, leaf = name.rpartition(".")
    if leaf == "_min_nbor_dist":
        leaf = "min_nbor_dist"
    return start + dot + _LINEAR.get(leaf, leaf)
