"""From the options ``model/kernels`` and ``model/use_compile`` to what a model runs."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from deepmd.pt.utils.env import DEVICE

from deepmd_dpa4.config import ConfigError
from deepmd_dpa4.ops.native.load import load
from deepmd_dpa4.ops.operation import has_triton

log = logging.getLogger("deepmd.dpa4")

_override: ContextVar[str | None] = ContextVar("kernels", default=None)


def backend_for(kernels: str, precision: str, served: bool) -> str:
    """Choose the backend of a model with this value of ``model/kernels``; loads or compiles its library.

    Parameters
    ----------
    kernels, precision : str
        The options.
    served : bool
        Whether native kernels have this precision.

    Raises
    ------
    ConfigError
        If native kernels are demanded but cannot be had, or not in this precision; if kernels in Triton are demanded on
        a CUDA device without Triton.
    """
    kernels = _override.get() or kernels
    if kernels == "plain":
        return "plain"
    if kernels == "triton":
        return _triton()
    if DEVICE.type != "cpu":
        if kernels == "native":
            log.info("native kernels are for CPUs: this model runs plain ones on %s", DEVICE)
        return "plain"
    if not served:
        if kernels == "native":
            raise ConfigError(
                "`model/kernels` is 'native' but must be 'auto' or 'plain' with `descriptor/precision` = "
                f"{precision!r}: native kernels are for float32 and float64"
            )
        return "plain"
    if kernels == "native":
        demand_native("model/kernels")
    return "cpu" if load() else "plain"


def _triton() -> str:
    if DEVICE.type != "cuda":
        log.info("kernels in Triton are for CUDA devices: this model runs plain ones on %s", DEVICE)
        return "plain"
    if not has_triton():
        raise ConfigError(
            "`model/kernels` is 'triton' but Triton, or the C compiler that it needs, is not there; install them, or "
            "use another value: `plain` always works"
        )
    return "triton"


def in_words(backend: str) -> str:
    """Say which kernels a model with this backend runs, and where."""
    if backend == "cpu":
        return f"native kernels, threads: {torch.get_num_threads()}"
    where = f"threads: {torch.get_num_threads()}" if DEVICE.type == "cpu" else str(DEVICE)
    return f"{'Triton' if backend == 'triton' else 'plain torch'} kernels, {where}"


def use_compile(wanted: bool, backend: str) -> bool:
    """Tell whether a model with this value of ``model/use_compile`` is compiled: on CUDA devices, not to be frozen."""
    if not wanted or _override.get() is not None:
        return False
    if DEVICE.type != "cuda":
        instead = "native kernels" if backend == "cpu" else "plain torch"
        log.info("`model/use_compile` is true: compiling does not pay on %s, this model runs %s", DEVICE, instead)
        return False
    return True


def demand_native(option: str) -> None:
    """Load or compile native kernels for an option that asks for them.

    Raises
    ------
    ConfigError
        If they cannot be had.
    """
    if not load():
        raise ConfigError(
            f"`{option}` is 'native' but this machine has no native kernels, for the reason in the warning above; "
            "fix it and run `dpa4 build`, or use another value: `plain` always works"
        )


def overridden() -> bool:
    """Tell whether models are built with kernels that they will not run with."""
    return _override.get() is not None


@contextmanager
def overriding(kernels: str) -> Iterator[None]:
    """Build models with this value, whatever their input says."""
    token = _override.set(kernels)
    try:
        yield
    finally:
        _override.reset(token)
