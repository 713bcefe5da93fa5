"""Errors that a user is told in one line, without a traceback."""

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

PACKAGE = Path(__file__).parent
COMMAND = "dp"


class UserError(Exception):
    """An error whose message says all: the option or file, its value, and what is allowed."""


def is_told(error: BaseException) -> bool:
    """Tell whether the message of an error is all that a user needs.

    It is for a :class:`UserError`, and for a ValueError that this package raises itself.
    """
    if isinstance(error, UserError):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    return isinstance(error, ValueError) and bool(frames) and PACKAGE in Path(frames[-1].filename).parents


def shorten_errors() -> None:
    """Let the command ``dp`` of DeePMD-kit end with one line where :func:`is_told` says that it is enough."""
    if Path(sys.argv[0]).stem == COMMAND:
        sys.excepthook = shortening(sys.excepthook)


def shortening(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Print the message of an error that :func:`is_told`, and leave others to ``hook``."""

    def told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if is_told(error):
            print(f"{COMMAND}: error: {error}", file=sys.stderr)
        else:
            hook(kind, error, trace)

    return told
