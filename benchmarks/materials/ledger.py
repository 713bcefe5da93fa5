"""Results of many items, written one by one, so that an interrupted benchmark goes on where it was."""

import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepmd_dpa4.files import replacing

Row = dict[str, Any]


@dataclass
class Ledger:
    """A JSON file of rows by name.

    Parameters
    ----------
    path : Path
        The file; rows that are in it are not computed again.
    settings : dict
        What decides the numbers. A file that was written with other settings is refused.
    """

    path: Path
    settings: dict[str, Any]
    rows: dict[str, Row] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path.exists():
            found = json.loads(self.path.read_text())
            if found["settings"] != json.loads(json.dumps(self.settings)):
                raise ValueError(f"{self.path} holds results of {found['settings']}, not {self.settings}: move it away")
            self.rows = found["rows"]

    def fill(self, names: Iterable[str], compute: Callable[[str], Row]) -> dict[str, Row]:
        """Compute the rows that are missing, tell progress on stderr, and keep each at once.

        An item that fails has the key ``failed`` with the reason, and is not tried again.
        """
        wanted = list(names)
        for number, name in enumerate(wanted, 1):
            if name in self.rows:
                continue
            start = time.perf_counter()
            try:
                row = compute(name)
            except (ArithmeticError, RuntimeError, ValueError) as error:
                row = {"failed": f"{type(error).__name__}: {error}"}
            self.rows[name] = row | {"seconds": round(time.perf_counter() - start, 2)}
            self.save()
            print(f"{number}/{len(wanted)} {name}: {shown(row)}", file=sys.stderr, flush=True)
        return {name: self.rows[name] for name in wanted}

    def save(self) -> None:
        """Write the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as partial:
            partial.write_text(json.dumps({"settings": self.settings, "rows": self.rows}, indent=1) + "\n")


def shown(row: Row) -> str:
    """Write the single values of a row in a line."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in row.items()
        if isinstance(value, str | int | float)
    )


def table(rows: dict[str, Row], columns: dict[str, str], first: str) -> str:
    """Write rows as a table in Markdown.

    Parameters
    ----------
    rows : dict
        By name.
    columns : dict
        Heads of the columns by the keys of a row.
    first : str
        Head of the names.
    """
    lines = [f"| {first} | {' | '.join(columns.values())} |", f"|{'---|' * (len(columns) + 1)}"]
    for name, row in rows.items():
        lines.append(f"| {name} | {' | '.join(cell(row.get(key)) for key in columns)} |")
    return "\n".join(lines) + "\n"


def cell(value: Any) -> str:
    """Write a value; nothing is a dash."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
