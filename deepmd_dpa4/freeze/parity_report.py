"""Predictions of two checkpoints by the two implementations of DPA4, compared on random structures.

Each side runs in a process of its own, because a process decides once which implementation owns the name ``dpa4``.
"""

import os
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from deepmd_dpa4.checkpoint.canonical_options import BUILTIN
from deepmd_dpa4.checkpoint.convert import Conversion
from deepmd_dpa4.checkpoint.read import Checkpoint, read_checkpoint
from deepmd_dpa4.checkpoint.trained_elements import trained_types
from deepmd_dpa4.config.plugin_only import newer_values
from deepmd_dpa4.freeze.random_structures import RandomStructure, displaced, random_structure
from deepmd_dpa4.freeze.verify import STEP, Allowance
from deepmd_dpa4.host import builtin
from deepmd_dpa4.switch import OFF, SWITCH
from deepmd_dpa4.type_names import NEUTRAL

QUANTITIES = {"energy": "eV", "forces": "eV/Angstrom", "virial": "eV"}
ATOMS = (11, 13, 15, 17)
"""Numbers of atoms of the structures, which are periodic in turn."""

Predictions = list[dict[str, np.ndarray]]


@dataclass(frozen=True)
class Side:
    """A checkpoint, the branch of it, and who evaluates it."""

    path: Path
    head: str | None
    by_builtin: bool

    @property
    def name(self) -> str:
        """For the report."""
        return "DeePMD-kit" if self.by_builtin else "deepmd-dpa4"


def report(source: Path, target: Path, wanted: Conversion) -> None:
    """Print the largest differences between a checkpoint and what was converted from it.

    The target is evaluated by the implementation it is for, the source by the other one. Where the other one cannot
    give the numbers of the source, because averaged weights were taken or the source has a name or a value of ours, the
    target stands in for it, or we do.

    Raises
    ------
    ValueError
        If they differ by more than rounding, an evaluation fails, or this DeePMD-kit has no DPA4.
    """
    if not builtin.available():
        raise ValueError("`--report` needs DeePMD-kit 3.2 or newer, which has a built-in DPA4")
    by_builtin = wanted.to == BUILTIN
    checkpoint = read_checkpoint(target)
    original = target if wanted.averaged else source
    branches = read_checkpoint(original).branches.values()
    only_here = any(params.get("type") == NEUTRAL or newer_values(params) for params in branches)
    differing = []
    for name in checkpoint.branches:
        head = name if checkpoint.multi_task else None
        other_head = head if wanted.averaged else head or wanted.branch
        sides = (Side(original, other_head, not by_builtin and not only_here), Side(target, head, by_builtin))
        inputs = structures(checkpoint, name)
        moved = [displaced(structure, STEP) for structure in inputs]
        original_side, target_side = sides
        predictions = predict(original_side, [*inputs, *moved])
        one, answers, other = predictions[: len(inputs)], predictions[len(inputs) :], predict(target_side, inputs)
        branch = f", branch {name}" if head else ""
        compared = " and ".join(f"{side.path} by {side.name}" for side in sides)
        print(f"{compared}{branch}, {len(inputs)} random structures:")
        for quantity, unit in QUANTITIES.items():
            largest = max(float(np.abs(entry[quantity]).max()) for entry in one)
            allowed = Allowance(largest, differences(one, answers)[quantity], precision(checkpoint, name))
            off = differences(one, other)[quantity]
            print(f"  {quantity:7} up to {largest:10.4g}, difference {off:8.1e} {unit}")
            if not off <= allowed.value:
                differing.append(f"the {quantity} of {original}: off by {off:.3g} {unit}, {allowed.reason(unit)}")
    if differing:
        raise ValueError(f"{target} does not predict {differing[0]}")


def structures(checkpoint: Checkpoint, branch: str) -> list[RandomStructure]:
    """Draw random structures of the elements that a branch was trained for, with the conditions that it takes."""
    params = checkpoint.branches[branch]
    bias = checkpoint.branch_tensors(branch)["atomic_model.out_bias"].flatten().tolist()
    fitting, descriptor = params["fitting_net"], params["descriptor"]
    charged = 2 if descriptor.get("add_chg_spin_ebd") else 0
    conditions = (fitting.get("numb_fparam") or 0, fitting.get("numb_aparam") or 0, charged)
    types = trained_types(params, bias)
    return [
        random_structure(
            atoms, np.random.default_rng(atoms).permutation(types).tolist(), index % 2 == 0, atoms, conditions
        )
        for index, atoms in enumerate(ATOMS)
    ]


def precision(checkpoint: Checkpoint, branch: str) -> torch.dtype:
    """Return the precision of the network of a branch."""
    return checkpoint.branch_tensors(branch)["atomic_model.descriptor.radial_basis.adam_freqs"].dtype


def predict(side: Side, inputs: list[RandomStructure]) -> Predictions:
    """Predict structures in a process of the implementation that is asked for.

    Raises
    ------
    ValueError
        If it fails; with the last line that it printed.
    """
    with TemporaryDirectory() as folder:
        given, result = Path(folder) / "structures.npz", Path(folder) / "predictions.npz"
        np.savez(given, **packed(inputs))  # type: ignore[arg-type]
        command = [sys.executable, "-m", __name__, str(side.path), side.head or "", str(given), str(result)]
        environment = {**os.environ, SWITCH: OFF if side.by_builtin else ""}
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            last = next((line for line in reversed(run.stderr.splitlines()) if line.strip()), "no message")
            raise ValueError(f"{side.path} cannot be evaluated by {side.name}: {last}")
        with np.load(result) as arrays:
            return [{name: arrays[f"{name}{index}"] for name in QUANTITIES} for index in range(len(inputs))]


def packed(inputs: list[RandomStructure]) -> dict[str, np.ndarray]:
    """Pack structures into arrays, each by its name and the number of the structure."""
    return {
        f"{item.name}{index}": value
        for index, structure in enumerate(inputs)
        for item in fields(RandomStructure)
        if (value := getattr(structure, item.name)) is not None
    }


def unpacked(arrays: dict[str, np.ndarray]) -> list[RandomStructure]:
    """Undo :func:`packed`."""
    count = sum(name.startswith("coord") for name in arrays)
    return [
        RandomStructure(**{item.name: arrays.get(f"{item.name}{index}") for item in fields(RandomStructure)})  # type: ignore[arg-type]
        for index in range(count)
    ]


def differences(one: Predictions, other: Predictions) -> dict[str, float]:
    """Find the largest difference of each quantity."""
    return {
        name: max(float(np.abs(a[name] - b[name]).max()) for a, b in zip(one, other, strict=True))
        for name in QUANTITIES
    }


def evaluate(path: str, head: str, given: str, result: str) -> None:
    """Evaluate the structures of a file and write the predictions, in this process."""
    from deepmd.infer import DeepPot

    from deepmd_dpa4.freeze.runners import evaluated

    potential = DeepPot(path, head=head or None)
    with np.load(given) as arrays:
        inputs = unpacked(dict(arrays))
    found: dict[str, np.ndarray] = {}
    for index, structure in enumerate(inputs):
        outputs = evaluated(potential, structure)
        found |= {f"{name}{index}": value for name, value in zip(QUANTITIES, outputs, strict=True)}
    np.savez(result, **found)  # type: ignore[arg-type]


if __name__ == "__main__":
    evaluate(*sys.argv[1:])
