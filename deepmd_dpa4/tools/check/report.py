"""The results of all instruments as JSON, kept up to date so that an interrupted call can go on."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deepmd_dpa4.files import write_text
from deepmd_dpa4.tools.check.instrument import Line, Outcome, Plot, Verdict
from deepmd_dpa4.tools.data.errors import DataError
from deepmd_dpa4.tools.data.reader import system_folders

FORMAT = 1
DIGITS = 6
"""Significant digits of plotted numbers."""


@dataclass
class Report:
    """What is known about a model so far."""

    path: Path
    model: Mapping[str, Any]
    """Name, hash and branch of the file."""
    settings: Mapping[str, Any]
    """Everything else that results depend on."""
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def resume(self) -> None:
        """Take the results of an earlier call for the same model and settings, if there are any.

        Raises
        ------
        DataError
            If there is such a file that is no report.
        """
        if not self.path.exists():
            return
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            same = content["format"] == FORMAT and all(
                content[name] == plain(value) for name, value in (("model", self.model), ("settings", self.settings))
            )
            for name, entry in content["instruments"].items() if same else ():
                self.outcomes[name] = decode(entry)
                self.seconds[name] = entry["seconds"]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DataError(f"{self.path} is no report of `dpa4 check`: choose another `--output`") from None

    def add(self, name: str, outcome: Outcome, seconds: float) -> None:
        """Take the result of an instrument and write the file."""
        self.outcomes[name], self.seconds[name] = outcome, round(seconds, 2)
        self.write()

    def write(self) -> None:
        """Write the file; an interruption leaves the one before."""
        content = {
            "format": FORMAT,
            "verdict": self.verdict.value,
            "model": self.model,
            "settings": self.settings,
            "instruments": {
                name: {**encode(outcome), "seconds": self.seconds[name]} for name, outcome in self.outcomes.items()
            },
        }
        write_text(self.path, json.dumps(plain(content), allow_nan=False, indent=1))

    @property
    def verdict(self) -> Verdict:
        """Fail if one fails."""
        failed = any(outcome.verdict is Verdict.FAIL for outcome in self.outcomes.values())
        return Verdict.FAIL if failed else Verdict.PASS


def plain(value: Any) -> Any:
    """Make what JSON can hold: numbers that are not finite become null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return [plain(float(f"{item:.{DIGITS}g}")) for item in value.tolist()]
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def encode(outcome: Outcome) -> dict[str, Any]:
    """Make a section of the file."""
    return {
        "verdict": outcome.verdict.value,
        "numbers": outcome.numbers,
        "found": outcome.found,
        "plots": [
            {name: getattr(plot, name) for name in PLOT}
            | {"lines": [[line.name, line.x, line.y] for line in plot.lines]}
            for plot in outcome.plots
        ],
    }


PLOT = ("title", "x_label", "y_label", "x_scale", "y_scale", "points")


def decode(section: Mapping[str, Any]) -> Outcome:
    """Read a section of the file."""
    numbers = {name: float("nan") if value is None else value for name, value in section["numbers"].items()}
    plots = tuple(
        Plot(
            lines=tuple(Line(name, array(x), array(y)) for name, x, y in plot["lines"]),
            **{name: plot[name] for name in PLOT},
        )
        for plot in section["plots"]
    )
    return Outcome(Verdict(section["verdict"]), numbers, tuple(section["found"]), plots)


def array(values: Sequence[float | None]) -> np.ndarray:
    """Read plotted numbers, null as not a number."""
    return np.array(values, dtype=np.float64)


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(folders: Sequence[Path]) -> str | None:
    """Return a hash of names, sizes and times of all files of the systems below folders; None without folders."""
    if not folders:
        return None
    digest = hashlib.sha256()
    for folder in folders:
        for system in system_folders(folder):
            # systems and sets may be links, into which `rglob` does not look
            for path in sorted((*system.glob("*"), *system.glob("set.*/*"))):
                if path.is_file():
                    status = path.stat()
                    digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
