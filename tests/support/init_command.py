"""``dpa4 init`` in this process."""

import json
from pathlib import Path
from typing import Any

from deepmd_dpa4.cli import main

Section = dict[str, Any]


def init(folder: Path, *words: Any) -> Section:
    """The input that the command writes into ``folder``."""
    output = folder / "input.json"
    assert main(["init", *map(str, words), "-o", str(output), "--force"]) == 0
    return json.loads(output.read_text())
