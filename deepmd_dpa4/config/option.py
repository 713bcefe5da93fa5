"""One declaration per option: type, default and documentation beside each other."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field
from typing import Any

from deepmd_dpa4.errors import UserError


def option(default: Any, doc: str) -> Any:
    """Declare a documented option of a frozen dataclass; mutable defaults are given as tuples."""
    return field(default=default, metadata={"doc": doc})


class ConfigError(UserError, ValueError):
    """An option has a value that is not allowed; the message begins with the option, then the value and the rule."""

    def inside(self, where: str) -> "ConfigError":
        """Return the same error with the path of the section before the option."""
        return type(self)(f"`{where}/{str(self).removeprefix('`')}")


class UnsupportedOption(ConfigError):
    """An option of the official implementation that this package does not provide."""


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Put the path of a section before the option that an error in the block names."""
    try:
        yield
    except ConfigError as error:
        raise error.inside(where) from None


def require(condition: bool, name: str, value: Any, rule: str) -> None:
    """Raise :class:`ConfigError` unless ``condition`` holds."""
    if not condition:
        raise ConfigError(f"`{name}` is {value!r} but {rule}")


def require_one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Raise :class:`ConfigError` unless ``value`` is one of ``allowed``."""
    require(value in allowed, name, value, f"must be one of {', '.join(repr(item) for item in allowed)}")
