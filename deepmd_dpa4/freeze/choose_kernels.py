"""Which kernels a frozen file holds."""

import json

from deepmd.pt.utils.env import DEVICE

from deepmd_dpa4.host.model import ModelDPA4
from deepmd_dpa4.ops.backends import backend_of, use_backend

PORTABLE, COMPILED = ".pth", ".pt2"


def choose_kernels(kernels: str | None, model: ModelDPA4 | None, compiled: bool, name: str, output: str) -> str:
    """Choose the kernels of a file: those asked for, or those of the model where such a file can hold them.

    Parameters
    ----------
    kernels : str or None
        Asked for.
    model : ModelDPA4 or None
        To be frozen; None if it is none of ours.
    compiled : bool
        Whether as ``.pt2``.
    name, output : str
        Of the checkpoint and of the file.

    Raises
    ------
    ValueError
        If kernels are asked for that cannot serve this model, file or device.
    """
    wrong = f"`--kernels` is {kernels!r} but must be 'plain' for {name}"
    if kernels in ("native", "triton") and (model is None or compiled != (kernels == "triton")):
        suffix = COMPILED if kernels == "triton" else PORTABLE
        raise ValueError(
            f"{wrong} and `--output` {output!r}: {kernels} kernels are for models of deepmd-dpa4 in {suffix} files"
        )
    if model is None:
        return "plain"
    if kernels == "native" and not model.atomic_model.descriptor.has_native_precision():
        raise ValueError(f"{wrong}: native kernels are for float32 and float64")
    if kernels is None and compiled and json.loads(model.model_def_script).get("kernels") == "triton":
        return "triton" if DEVICE.type == "cuda" and serves(model, "triton") else "plain"
    if kernels == "triton" and DEVICE.type != "cuda":
        raise ValueError(f"{wrong} on {DEVICE}: kernels in Triton are for CUDA devices")
    if kernels == "triton" and not serves(model, "triton"):
        reasons = "Triton or a C compiler is missing, or its kernels are not for these options, precision or card"
        raise ValueError(f"{wrong}: {reasons}")
    return kernels or "plain"


def serves(model: ModelDPA4, backend: str) -> bool:
    """Tell whether any operation of a model with plain kernels has an implementation of a backend on this device."""
    use_backend(model, backend, DEVICE)
    found = backend_of(model) == backend
    use_backend(model, "plain")
    return found
