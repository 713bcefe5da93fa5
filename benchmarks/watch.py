"""A process that runs, and what it holds meanwhile: resident memory and open files (Linux)."""

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from compare import BenchmarkError


@dataclass(frozen=True)
class Sample:
    """Seconds since the start, resident memory in MB, number of open files."""

    seconds: float
    memory_mb: float
    files: int


def watched(command: Sequence[Any], folder: Path, environment: dict[str, str], interval: float) -> list[Sample]:
    """Run a command, whose output goes to ``NAME.out`` in its folder, and look at it every ``interval`` seconds.

    Raises
    ------
    BenchmarkError
        If it fails, with the end of what it printed.
    """
    output = folder / f"{Path(command[0]).name}.out"
    start = time.perf_counter()
    samples = []
    with output.open("w") as file:
        process = subprocess.Popen(
            [str(part) for part in command], cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
        while process.poll() is None:
            try:
                samples.append(look(process.pid, time.perf_counter() - start))
            except (OSError, StopIteration):
                break  # it has just ended
            time.sleep(interval)
    if process.wait():
        tail = "\n".join(output.read_text(errors="replace").splitlines()[-20:])
        raise BenchmarkError(f"{tail}\n`{Path(command[0]).name}` ended with code {process.returncode}")
    return samples


def look(pid: int, seconds: float) -> Sample:
    """What a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    memory = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    return Sample(seconds, 1.024e-3 * memory, len(list(Path(f"/proc/{pid}/fd").iterdir())))


def growth(samples: list[Sample]) -> dict[str, float]:
    """Medians of the second and of the last quarter; the first warms up."""
    quarter = max(1, len(samples) // 4)
    parts = {"second quarter": samples[quarter : 2 * quarter] or samples, "last quarter": samples[-quarter:]}
    found: dict[str, float] = {}
    for name, part in parts.items():
        found[f"memory_mb, {name}"] = round(median(sample.memory_mb for sample in part), 1)
        found[f"files, {name}"] = median(sample.files for sample in part)
    return found
