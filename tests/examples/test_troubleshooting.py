"""Messages that the troubleshooting page quotes are messages of the code."""

import ast
import re
from collections.abc import Iterator

import pytest

import deepmd_dpa4
from tests.examples.snippets import blocks
from tests.support.commands import ROOT

QUOTES = [quote.strip() for quote in blocks(ROOT / "docs" / "troubleshooting.md", "text")]


def texts() -> Iterator[str]:
    """Every string of the package, with ``...`` for what is filled in."""
    for path in (ROOT / "deepmd_dpa4").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values]
                yield "".join(parts)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.sub(r"%[-.\w]*[drsfge]", "...", node.value)


SOURCE = list(texts())


def test_there_are_quotes() -> None:
    assert deepmd_dpa4.__version__ and len(QUOTES) > 10


@pytest.mark.parametrize("quote", QUOTES)
def test_quoted_messages_are_in_the_source(quote: str) -> None:
    """What stands between the gaps of a quote occurs in one string, in this order."""
    pattern = re.compile(".*".join(map(re.escape, re.split(r"\s*\.\.\.\s*", quote))), re.DOTALL)
    assert any(pattern.search(text) for text in SOURCE), f"no message of the code reads like this: {quote}"
