"""From the option ``model/kernels`` to the implementation that a model runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from deepmd.pt.utils.env import DEVICE

from deepmd_dpa4.config import ConfigError
from deepmd_dpa4.ops.native.load import load

_override: ContextVar[str | None] = ContextVar("kernels", default=None)


def use_native(kernels: str) -> bool:
    """Whether a model with this value of ``model/kernels`` uses native kernels; loads or compiles them if so.

    Raises
    ------
    ConfigError
        If they are demanded but cannot be had.
    """
    kernels = _override.get() or kernels
    if kernels == "plain" or DEVICE.type != "cpu":
        return False
    available = load()
    if kernels == "native" and not available:
        raise ConfigError(
            "`model/kernels` is 'native' but this machine has no native kernels, for the reason in the warning above; "
            "mend it and run `dpa4 build`, or use 'auto' or 'plain'"
        )
    return available


@contextmanager
def overriding(kernels: str) -> Iterator[None]:
    """Build models with this value, whatever their input says."""
    token = _override.set(kernels)
    try:
        yield
    finally:
        _override.reset(token)
