"""What a user of data files can have done wrong."""

from importlib.util import find_spec
from pathlib import Path

from deepmd_dpa4.errors import UserError


class DataError(UserError, ValueError):
    """Data or an option about it that cannot be used; the message names the file or option, and what is allowed."""


def require_positive(option: str, value: float) -> None:
    """Refuse a number that is not positive, or none at all; raises :class:`DataError`."""
    if not value > 0:
        raise DataError(f"`{option}` is {value:g} but must be positive")


def require_name(path: Path, *suffixes: str, option: str = "--output") -> None:
    """Refuse a name for a result with another suffix, or in a folder that is not there.

    Raises
    ------
    DataError
        Names the option.
    """
    if path.suffix not in suffixes:
        allowed = suffixes[0] if len(suffixes) == 1 else f"one of {', '.join(suffixes)}"
        raise DataError(f"`{option}` is {path} but must end in {allowed}")
    if not path.parent.is_dir():
        raise DataError(f"`{option}` is {path} but there is no folder {path.parent}")


def require(package: str, extra: str, purpose: str) -> None:
    """Say what to install for ``purpose``.

    Parameters
    ----------
    package : str
        Name under which the package is imported.
    extra : str
        Extra of this package that brings it.
    purpose : str
        What needs it.

    Raises
    ------
    DataError
        If the package is not installed.
    """
    if find_spec(package) is None:
        raise DataError(f"{purpose} needs the package {package}: pip install 'deepmd-dpa4[{extra}]'")
