"""Predictions of two checkpoints by the two implementations of DPA4, compared on random structures.

Each side runs in a process of its own, because a process decides once which implementation owns the name ``dpa4``.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from deepmd_dpa4.checkpoint.convert import Conversion
from deepmd_dpa4.checkpoint.normalize import OFFICIAL
from deepmd_dpa4.checkpoint.read import read_checkpoint
from deepmd_dpa4.host import official
from deepmd_dpa4.host.naming import NEUTRAL
from deepmd_dpa4.takeover import OFF, SWITCH

QUANTITIES = {"energy": "eV", "forces": "eV/Angstrom", "virial": "eV"}
LIMITS = {"float64": 1e-9}
"""Allowed difference relative to the largest value, by precision; rounding of float32 is the other case."""
LIMIT = 1e-4
ATOMS, STRUCTURES = 10, 4
CLOSEST = 1.1

Predictions = list[dict[str, np.ndarray]]


@dataclass(frozen=True)
class Side:
    """A checkpoint, the branch of it, and who evaluates it."""

    path: Path
    head: str | None
    by_official: bool

    @property
    def name(self) -> str:
        """For the report."""
        return "DeePMD-kit" if self.by_official else "deepmd-dpa4"


def report(source: Path, target: Path, wanted: Conversion) -> None:
    """Print the largest differences between a checkpoint and what was converted from it.

    The target is evaluated by the implementation it is for, the source by the other one. Where the other one cannot
    give the numbers of the source, because averaged weights were taken or the source has a name of ours, the target
    stands in for it, or we do.

    Raises
    ------
    ValueError
        If they differ by more than rounding, an evaluation fails, or this DeePMD-kit has no DPA4.
    """
    if not official.available():
        raise ValueError("`--report` needs DeePMD-kit 3.2 or newer, which has a DPA4 of its own")
    by_official = wanted.to == OFFICIAL
    checkpoint = read_checkpoint(target)
    original = target if wanted.averaged else source
    neutral = any(params.get("type") == NEUTRAL for params in read_checkpoint(original).branches.values())
    differing = []
    for name, params in checkpoint.branches.items():
        head = name if checkpoint.multi_task else None
        other_head = head if wanted.averaged else head or wanted.branch
        sides = (Side(original, other_head, not by_official and not neutral), Side(target, head, by_official))
        inputs = structures(params)
        rows = differences(*(predict(side, inputs) for side in sides))
        limit = LIMITS.get(params["descriptor"].get("precision", "float32"), LIMIT)
        branch = f", branch {name}" if head else ""
        compared = " and ".join(f"{side.path} by {side.name}" for side in sides)
        print(f"{compared}{branch}, {len(inputs)} random structures:")
        for quantity, (largest, absolute) in rows.items():
            print(f"  {quantity:7} up to {largest:10.4g}, difference {absolute:8.1e} {QUANTITIES[quantity]}")
            if not absolute <= limit * largest:
                differing.append(quantity)
    if differing:
        raise ValueError(f"{target} does not predict the {differing[0]} of {original}, see the differences above")


def structures(params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Random structures for a model: two in a skewed cell, two without; with the conditions that it takes."""
    generator = np.random.default_rng(1)
    names = [str(name) for name in params["type_map"]]
    seen = (params.get("info") or {}).get("observed_type") or names
    types = [index for index, name in enumerate(names) if name in seen] or list(range(len(names)))
    fitting, descriptor = params["fitting_net"], params["descriptor"]
    found = []
    for index in range(STRUCTURES):
        cell = 6.5 * np.eye(3) + np.tril(generator.uniform(-1, 1, (3, 3)), -1)
        entry: dict[str, Any] = {
            "coord": _positions(generator, cell).tolist(),
            "cell": cell.tolist() if index % 2 == 0 else None,
            "types": generator.choice(types, ATOMS).tolist(),
        }
        if fitting.get("numb_fparam"):
            entry["fparam"] = generator.uniform(0, 1, fitting["numb_fparam"]).tolist()
        if fitting.get("numb_aparam"):
            entry["aparam"] = generator.uniform(0, 1, (ATOMS, fitting["numb_aparam"])).tolist()
        if descriptor.get("add_chg_spin_ebd"):
            entry["charge_spin"] = [float(index % 2), 1.0 + index % 2]
        found.append(entry)
    return found


def _positions(generator: np.random.Generator, cell: np.ndarray) -> np.ndarray:
    """Random positions in a cell, none too close to another or its images."""
    shifts = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T @ cell
    placed: list[np.ndarray] = []
    while len(placed) < ATOMS:
        trial = generator.uniform(0, 1, 3) @ cell
        images = [np.linalg.norm(trial - other + shifts, axis=1).min() for other in placed]
        if not images or min(images) > CLOSEST:
            placed.append(trial)
    return np.array(placed)


def predict(side: Side, inputs: list[dict[str, Any]]) -> Predictions:
    """Predictions in a process of the implementation that is asked for.

    Raises
    ------
    ValueError
        If it fails; with the last line that it printed.
    """
    with TemporaryDirectory() as folder:
        given, result = Path(folder) / "structures.json", Path(folder) / "predictions.npz"
        given.write_text(json.dumps(inputs), encoding="utf-8")
        command = [sys.executable, "-m", __name__, str(side.path), side.head or "", str(given), str(result)]
        environment = {**os.environ, SWITCH: OFF if side.by_official else ""}
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            last = next((line for line in reversed(run.stderr.splitlines()) if line.strip()), "no message")
            raise ValueError(f"{side.path} cannot be evaluated by {side.name}: {last}")
        with np.load(result) as arrays:
            return [{name: arrays[f"{name}{index}"] for name in QUANTITIES} for index in range(len(inputs))]


def differences(one: Predictions, other: Predictions) -> dict[str, tuple[float, float]]:
    """Largest value and largest difference of each quantity."""
    return {
        name: (
            max(float(np.abs(entry[name]).max()) for entry in one),
            max(float(np.abs(a[name] - b[name]).max()) for a, b in zip(one, other, strict=True)),
        )
        for name in QUANTITIES
    }


def evaluate(path: str, head: str, given: str, result: str) -> None:
    """Evaluate the structures of a file and write the predictions, in this process."""
    from deepmd.infer import DeepPot

    potential = DeepPot(path, head=head or None)
    arrays: dict[str, np.ndarray] = {}
    for index, entry in enumerate(json.loads(Path(given).read_text(encoding="utf-8"))):
        conditions = {
            key: np.array(entry[key]).reshape(1, -1) for key in entry if key not in ("coord", "cell", "types")
        }
        cell = None if entry["cell"] is None else np.array(entry["cell"]).reshape(1, 9)
        outputs = potential.eval(np.array(entry["coord"]).reshape(1, -1), cell, entry["types"], **conditions)
        arrays |= {f"{name}{index}": value for name, value in zip(QUANTITIES, outputs[:3], strict=True)}
    np.savez(result, **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    evaluate(*sys.argv[1:])
