"""Frames of a training read without threads."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from deepmd.utils import data


class InTurn:
    """An executor that does what it is told at once, in the thread that tells it.

    DeePMD-kit starts a thread for each of the ten or so arrays of every frame that it reads. The arrays are mapped into
    memory, so starting threads takes 30 times as long as reading: 1.3 ms of processor time a frame, on cores on which
    the training runs too.
    """

    def __init__(self, max_workers: int | None = None) -> None:
        """Take the number of threads, as others of its kind, and do without them."""

    def __enter__(self) -> "InTurn":
        return self

    def __exit__(self, *_: Any) -> None:
        return None

    def submit(self, function: Callable[..., Any], /, *args: Any, **more: Any) -> "Future[Any]":
        """Call a function; an error comes when the result is asked for."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **more))
        except Exception as error:
            future.set_exception(error)
        return future


def read_in_turn() -> None:
    """Let the data sets of this process, and of those that load data for it, read without threads."""
    if hasattr(data, "ThreadPoolExecutor"):
        data.ThreadPoolExecutor = InTurn
