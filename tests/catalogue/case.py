"""One mistake: what was given, how to make it, what the message has to say, and what to do."""

import contextlib
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepmd_dpa4.errors import UserError, is_told
from tests.catalogue.desk import Desk
from tests.support.commands import BIN

LONGEST = 300
"""Letters of a line of a message."""


@dataclass(frozen=True)
class Case:
    """A mistake of a user.

    Parameters
    ----------
    given : str
        The mistake, in Markdown.
    call : callable
        Makes it in the folder of a :class:`Desk`; raises the error, or returns what is printed.
    says : tuple of str
        What the message has to contain: option or file, value, and what is allowed.
    remedy : str
        What to do, one sentence.
    program : str
        What it needs besides Python, such as ``lmp``.
    """

    given: str
    call: Callable[[Desk], object]
    says: tuple[str, ...]
    remedy: str
    program: str = ""

    @property
    def possible(self) -> bool:
        """Whether the program is there."""
        return not self.program or (BIN / self.program).exists()


@dataclass(frozen=True)
class Kind:
    """Cases under one heading.

    Parameters
    ----------
    title : str
        The heading.
    text : str
        What the cases have in common.
    cases : tuple of Case
        In the order of the page.
    """

    title: str
    text: str
    cases: tuple[Case, ...]


def message(case: Case, desk: Desk) -> str:
    """Make the mistake and return the message, without what differs between machines."""
    with desk.fresh() as folder:
        try:
            with quiet():
                printed = case.call(desk)
        except Exception as error:
            assert isinstance(error, UserError | OSError) or is_told(error), f"not told in one line: {error!r}"
            printed = str(error)
        desk.check_clean()
    assert isinstance(printed, str), f"nothing was said, but {printed!r} returned"
    return neutral(printed, folder)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Swallow what is printed besides."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def neutral(text: str, folder: Path) -> str:
    """Replace paths of this machine and versions."""
    text = text.replace(f"{folder}/", "").replace(str(folder), "FOLDER")
    text = re.sub(r"(DeePMD-kit|deepmd-dpa4|torch) \d+\.\d+\.\d+\S*", r"\1 VERSION", text)
    text = re.sub(r"the checksum of \S+", "the checksum of ENTRY", text)
    text = re.sub(r"\(choose from .*\)", lambda found: found[0].replace("'", ""), text)
    return "\n".join(map(shortened, text.strip().splitlines()))


def shortened(line: str) -> str:
    """A line that is not too long for a page, such as a list of all formats."""
    return line if len(line) <= LONGEST else line[:LONGEST].rpartition(" ")[0] + " ..."


def command(words: str, remedy: str, *says: str, prepare: Callable[[Desk], Any] | None = None, where: str = "") -> Case:
    """A command line of ``dpa4``; ``where`` tells what is wrong if it is not the line itself."""

    def call(desk: Desk) -> str:
        if prepare is not None:
            prepare(desk)
        return desk.dpa4(words)

    line = f"dpa4 {words}".strip()
    return Case(f"`{line}`" + (f", where {where}" if where else ""), call, says, remedy)
