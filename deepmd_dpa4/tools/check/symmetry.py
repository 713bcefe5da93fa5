"""Rotations and permutations."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy.spatial.transform import Rotation

from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.inference.structure import Structure
from deepmd_dpa4.tools.check.extensivity import scale
from deepmd_dpa4.tools.check.instrument import (
    Context,
    Line,
    Outcome,
    Plot,
    exceeds,
    judge,
    largest_force,
    not_run,
    rounding,
)


@dataclass(frozen=True)
class Symmetry:
    r"""Energy and forces of a turned and of a reordered structure.

    :math:`E(Rx) = E(x)`, :math:`F(Rx) = RF(x)` and the same with a permutation P in place of the rotation R, to the
    rounding of the file's precision: times the largest atomic energy for energies per atom, times the largest force
    for forces, each at least 1 (eV, eV/Angstrom).
    """

    name: ClassVar[str] = "symmetry"
    sound: ClassVar[str] = "rotations and permutations change nothing beyond rounding"
    count: int = 16
    atoms: int = 600

    def run(self, evaluator: Evaluator, context: Context) -> Outcome:
        """Turn and reorder all samples."""
        samples = context.some(self.count, self.atoms)
        if not samples:
            return not_run("there are no structures; give some with --data")
        rng = np.random.default_rng(context.seed)
        turns = [Rotation.random(rng=rng).as_matrix() for _ in samples]
        orders = [rng.permutation(len(sample.structure.symbols)) for sample in samples]
        plain = evaluator.evaluate([sample.structure for sample in samples])
        context.progress(1, 3)
        turned = evaluator.evaluate([rotated(sample.structure, turn) for sample, turn in zip(samples, turns)])
        context.progress(2, 3)
        mixed = evaluator.evaluate([reordered(sample.structure, order) for sample, order in zip(samples, orders)])
        unit = rounding(evaluator)
        failures: list[tuple[float, str]] = []
        excess: dict[str, list[float]] = {"rotation": [], "permutation": []}
        for index, (sample, before) in enumerate(zip(samples, plain)):
            expected = {
                "rotation": (turned[index], before.forces @ turns[index].T),
                "permutation": (mixed[index], before.forces[orders[index]]),
            }
            for kind, (after, forces) in expected.items():
                energy = abs(after.energy - before.energy) / max(len(forces), 1) / scale(before)
                force = largest_force(after.forces - forces) / max(1.0, largest_force(before.forces))
                worst = max(energy, force) if np.isfinite(energy + force) else float("inf")
                excess[kind].append(worst)
                if exceeds(worst, unit):
                    text = f"{kind} changes energies by {energy:.2g} and forces by {force:.2g} of their size"
                    failures.append((worst, f"{sample.name}: {text}, rounding explains {unit:.1g}"))
        failures.sort(key=lambda failure: -failure[0])
        numbers = {f"largest change by {kind}": max(values) for kind, values in excess.items()}
        x = np.arange(len(samples), dtype=float)
        lines = [Line(kind, x, np.maximum(values, 1e-17)) for kind, values in excess.items()]
        lines.append(Line("limit", x, np.full(len(x), unit)))
        plot = Plot("Symmetries", "structure", "relative change", tuple(lines), y_scale="log")
        return judge([text for _, text in failures], {"structures": len(samples)} | numbers, [plot])


def rotated(structure: Structure, turn: np.ndarray) -> Structure:
    """Turn positions and cell by a matrix (3, 3)."""
    cell = None if structure.cell is None else np.asarray(structure.cell) @ turn.T
    return replace(structure, positions=np.asarray(structure.positions) @ turn.T, cell=cell)


def reordered(structure: Structure, order: np.ndarray) -> Structure:
    """Put the atoms into another order, (n,)."""
    aparam = structure.aparam
    return replace(
        structure,
        symbols=[structure.symbols[index] for index in order],
        positions=np.asarray(structure.positions)[order],
        aparam=None if aparam is None else np.asarray(aparam)[order],
    )
