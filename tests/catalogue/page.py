"""The page ``docs/errors.md``: every case with its message."""

from collections.abc import Mapping
from types import ModuleType

from tests.catalogue import checkpoints, commands, data, inputs, simulations
from tests.catalogue.case import Case

PARTS: dict[str, ModuleType] = {
    "Inputs": inputs,
    "Data": data,
    "Checkpoints": checkpoints,
    "Command lines": commands,
    "Simulations": simulations,
}
"""Headings of the page, and where their cases are."""
CASES: dict[str, Case] = {
    f"{part}, {kind.title}: {case.given}": case
    for part, module in PARTS.items()
    for kind in module.KINDS
    for case in kind.cases
}
HEAD = """# Errors

Written by `docs/make_errors.py` from the cases of `tests/catalogue`, which the tests make; do not edit. Each entry says
what was given, what is said, and what to do. A message names the option by its whole path, or the file, and then the
value and what is allowed. `dp` and `dpa4` end with such a line, without a traceback, and `dpa4` leaves no file behind.
Long lines end in `...` here. Warnings, and messages of others, are on the page [troubleshooting](troubleshooting.md).

"""


def render(messages: Mapping[str, str]) -> str:
    """Write the page.

    Parameters
    ----------
    messages : mapping
        The message of each case.
    """
    rows = [f"| {part} | {len(cases_of(part))} |" for part in PARTS]
    parts = [HEAD + "\n".join(["| mistakes in | cases |", "|---|---|", *rows])]
    for part, module in PARTS.items():
        parts.append(f"## {part}")
        for kind in module.KINDS:
            parts.append(f"### {kind.title}")
            if kind.text:
                parts.append(kind.text)
            for case in kind.cases:
                parts.append(entry(case, messages[f"{part}, {kind.title}: {case.given}"]))
    return "\n\n".join(parts) + "\n"


def cases_of(part: str) -> list[str]:
    """Names of the cases under one heading."""
    return [name for name in CASES if name.startswith(f"{part}, ")]


def entry(case: Case, message: str) -> str:
    """Write one case."""
    return f"{case.given}\n\n```text\n{message}\n```\n\n{case.remedy}"
