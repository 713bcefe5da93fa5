"""The progress bar of commands that go through many frames."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Report(Protocol):
    """Is told how much is done and to do, and what is being done if that changes."""

    def __call__(self, done: int, total: int, description: str | None = None) -> None: ...


@contextmanager
def progress_bar(description: str) -> Iterator[Report]:
    """Show a bar on stderr while the block runs, if that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    stderr = Console(stderr=True)
    with Progress(console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        task = progress.add_task(description)

        def report(done: int, total: int, description: str | None = None) -> None:
            progress.update(task, description=description, completed=done, total=total)

        yield report
