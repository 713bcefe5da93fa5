"""What a frozen file says about itself."""

import json
from typing import Any

import deepmd
import torch
from deepmd.pt.utils.env import DEVICE

from deepmd_dpa4 import __version__
from deepmd_dpa4.host.model import ModelDPA4

ENTRY = "dpa4.json"
"""Name of the entry in the archive."""
KERNELS = ("plain", "native", "triton")
"""Values of ``--kernels``."""


def describe(model: ModelDPA4, portable: bool, kernels: str) -> dict[str, Any]:
    """Describe a file.

    Parameters
    ----------
    model : ModelDPA4
        As it is frozen.
    portable : bool
        Whether the file runs on every device that its kernels are for.
    kernels : str
        Which it holds, one of :data:`KERNELS`.

    Returns
    -------
    dict
        ``kernels``, ``precision``, ``device`` (``any`` or the kind it was compiled for), the versions of ``torch``,
        ``deepmd_kit`` and ``deepmd_dpa4`` that wrote it, ``type_map``, and ``model``, the section of the input.
    """
    dtype = model.atomic_model.descriptor.radial_basis.adam_freqs.dtype
    device = "any" if portable and kernels == "plain" else DEVICE.type
    return {
        "kernels": kernels,
        "precision": str(dtype).removeprefix("torch."),
        "device": device,
        "torch": torch.__version__,
        "deepmd_kit": deepmd.__version__,
        "deepmd_dpa4": __version__,
        "type_map": list(model.get_type_map()),
        "model": json.loads(model.model_def_script),
    }
