"""Text of an input file, short enough to be read and edited."""

import json
import textwrap
from typing import Any

WIDTH = 100


def render(value: Any, depth: int = 0) -> str:
    """Write JSON with two spaces for a level, and lists of plain values on one line as long as they fit."""
    indent = "  " * (depth + 1)
    if isinstance(value, dict) and value:
        rows = [f"{indent}{json.dumps(key)}: {render(item, depth + 1)}" for key, item in value.items()]
        return "{\n" + ",\n".join(rows) + "\n" + "  " * depth + "}"
    line = json.dumps(value)
    if not isinstance(value, list) or len(line) + len(indent) <= WIDTH:
        return line
    if all(isinstance(item, str | int | float) for item in value):
        words = ", ".join(json.dumps(item).replace(" ", "\0") for item in value)
        rows = textwrap.wrap(words, WIDTH - len(indent), break_long_words=False, break_on_hyphens=False)
        body = "\n".join(indent + row for row in rows).replace("\0", " ")
    else:
        body = ",\n".join(indent + render(item, depth + 1) for item in value)
    return f"[\n{body}\n{'  ' * depth}]"
