"""Evaluate a frozen file in the environment that this runs in, and print times and numbers as a line of JSON.

    python evaluate_file.py FILE [LIBRARY | LEVEL]

By default the native kernels are those that any process would take here; otherwise a given library, or the one that the
wheel has for a level of processors, such as x86-64-v3.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.inference.structure import Structure
from deepmd_dpa4.ops.native.choose_library import LEVELS, least_processor, prebuilt_library, usable_library
from deepmd_dpa4.ops.native.load import load

SPACING, CELLS, DISPLACEMENT = 3.1, 3, 0.2
MOLECULE = ((0.0, 0.0, 0.0), (0.76, 0.59, 0.0), (-0.76, 0.59, 0.0))
"""Angstrom; a lattice of water molecules, each atom displaced a little."""
EVALUATIONS = 4


def structure() -> Structure:
    """Return 27 water molecules in a periodic cube."""
    axis = SPACING * np.arange(CELLS)
    origins = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 1, 3)
    positions = (origins + np.array(MOLECULE)).reshape(-1, 3)
    positions += DISPLACEMENT * np.random.default_rng(1).uniform(-1, 1, positions.shape)
    return Structure(["O", "H", "H"] * len(origins), positions, SPACING * CELLS * np.eye(3))


def main(file: str, kernels: str | None = None) -> None:
    """Load, evaluate and print."""
    library = prebuilt_library(processor=least_processor(kernels)) if kernels in LEVELS else kernels and Path(kernels)
    system, seconds = structure(), [time.perf_counter()]
    if not load(library or None):
        raise SystemExit("no native kernels")
    evaluator = Evaluator(file)
    for _ in range(EVALUATIONS):
        (found,) = evaluator.evaluate([system])
        seconds.append(time.perf_counter())
    print(
        json.dumps(
            {
                "library": str(library or usable_library()),
                "first": seconds[1] - seconds[0],
                "later": seconds[-1] - seconds[-2],
                "energy": float(found.energy),
                "forces": np.asarray(found.forces).tolist(),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
