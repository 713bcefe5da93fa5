"""How long a training will take, estimated from measured steps and the speed of this machine."""

import re
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from deepmd_dpa4.tools.presets.systems import Contents

SECONDS, ATOMS, SPEED = 0.303, 192, 192.0
"""A step of Mini by ``dp --pt train``: its seconds for this number of atoms of water, on processors whose matrix
products reach this many GFLOP/s (``benchmarks/results/README.md``)."""
COSTS = {"nano": 0.55, "mini": 1.0, "neo": 3.2, "air": 12.0, "plus": 30.0, "paper-air": 12.0}
"""Processor time of a step of 96 atoms of water, in units of that of Mini; larger networks are for GPUs."""
MATRIX, REPEATS = 1024, 5


def atoms_in_step(batch_size: int | str, contents: Iterable[Contents]) -> float:
    """Estimate how many atoms a training step sees.

    Parameters
    ----------
    batch_size : int or str
        Frames, or a rule of DeePMD-kit: ``auto:N`` takes frames until there are N atoms, the others at most N.
    contents : iterable of Contents
        Training data of all branches, which are drawn equally often.
    """
    sizes = [part.atoms / part.frames for part in contents if part.frames]
    return float(np.mean([_frames(batch_size, size) * size for size in sizes]))


def _frames(batch_size: int | str, atoms: float) -> float:
    if isinstance(batch_size, int):
        return batch_size
    found = re.fullmatch(r"(\w+):(\d+)", batch_size)
    rule, wanted = (found[1], int(found[2])) if found else (batch_size, 32)
    return float(max(1, np.ceil(wanted / atoms) if rule == "auto" else wanted // atoms))


def measured_speed() -> float:
    """Measure matrix products in single precision, GFLOP/s, in a few hundredths of a second."""
    matrix = np.ones((MATRIX, MATRIX), dtype=np.float32)
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - start)
    return 2e-9 * MATRIX**3 / best


def estimate(size: str, steps: int, atoms: float, speed: float) -> float | None:
    """Estimate the seconds of a training with native kernels on the processors of this machine.

    Parameters
    ----------
    size : str
        Name of a network.
    steps : int
        Training steps.
    atoms : float
        Atoms in a step.
    speed : float
        GFLOP/s of matrix products.

    Returns
    -------
    float or None
        None for networks that were not measured.
    """
    cost = COSTS.get(size)
    return None if cost is None else steps * SECONDS * cost * atoms / ATOMS * SPEED / speed


def has_gpu() -> bool:
    """Tell whether there is a GPU of NVIDIA, without the seconds that importing torch takes."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def told(size: str, steps: int, atoms: float) -> str:
    """Say how long a training takes here, and where the number comes from."""
    if has_gpu():
        return "time of the training: not known for GPUs; `eta` in the log tells"
    speed = measured_speed()
    seconds = estimate(size, steps, atoms, speed)
    if seconds is None:
        return "time of the training: not known for this network; `eta` in the log tells"
    return (
        f"time of the training, estimated within a factor of 2: {in_words(seconds)} for {steps:,} steps of about "
        f"{atoms:.0f} atoms on these processors ({speed:.0f} GFLOP/s in matrix products now); `eta` in the log tells "
        "more"
    )


def in_words(seconds: float) -> str:
    """Write a time with one unit."""
    for unit, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
