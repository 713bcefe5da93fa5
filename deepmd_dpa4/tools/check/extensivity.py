"""Energy of two systems that do not see each other."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.inference.structure import Prediction, Structure
from deepmd_dpa4.tools.check.instrument import Context, Line, Outcome, Plot, exceeds, judge, not_run, rounding


@dataclass(frozen=True)
class SizeConsistency:
    r"""Energy of what is there twice.

    Two copies of an isolated system further apart than the cutoff have :math:`2E`, a cell doubled along its first
    vector too; the error :math:`|E_{2} - 2E|/2N` has to be below the rounding of the file's precision times the
    largest atomic energy, at least 1 eV.
    """

    name: ClassVar[str] = "size"
    sound: ClassVar[str] = "twice the system, twice the energy"
    count: int = 16
    atoms: int = 600

    def run(self, evaluator: Evaluator, context: Context) -> Outcome:
        """Double all samples, as cells and as clusters."""
        samples = context.some(self.count, self.atoms)
        if not samples:
            return not_run("there are no structures; give some with --data")
        singles, doubles, names = [], [], []
        for sample in samples:
            for kind, structure in variants(sample.structure):
                singles.append(structure)
                doubles.append(doubled(structure, evaluator.rcut))
                names.append(f"{sample.name}, {kind}")
        predictions = evaluator.evaluate([*singles, *doubles])
        found, twice = predictions[: len(singles)], predictions[len(singles) :]
        error = np.array([abs(two.energy - 2 * one.energy) / len(two.forces) for one, two in zip(found, twice)])
        limit = rounding(evaluator) * np.array([scale(one) for one in found])
        order = np.argsort(-np.nan_to_num(error / limit, nan=np.inf))
        failures = [
            f"{names[index]}: twice the system is off by {error[index]:.3g} eV/atom, rounding explains "
            f"{limit[index]:.1g}"
            for index in order
            if exceeds(error[index], limit[index])
        ]
        numbers = {"structures": len(names), "largest error (eV/atom)": float(error.max())}
        line = Line("structures", np.arange(len(error), dtype=float), np.maximum(error, 1e-16))
        plots = [
            Plot(
                "Size consistency",
                "structure",
                "error (eV/atom)",
                (line, Line("limit", line.x, limit)),
                y_scale="log",
                points=True,
            )
        ]
        return judge(failures, numbers, plots)


def scale(prediction: Prediction) -> float:
    """Return the energy in eV to which rounding is relative."""
    return max(1.0, float(np.abs(prediction.atom_energies).max(initial=0.0)))


def variants(structure: Structure) -> list[tuple[str, Structure]]:
    """Return a structure as it is and, if it is periodic, its atoms as a cluster."""
    if not any(structure.periodic):
        return [("cluster", structure)]
    return [("cell", structure), ("cluster", replace(structure, cell=None, pbc=None))]


def doubled(structure: Structure, rcut: float) -> Structure:
    """Return two copies: along the first periodic vector, or further apart than the cutoff (Angstrom)."""
    positions = np.asarray(structure.positions)
    cell = structure.cell
    if any(structure.periodic):
        axis = structure.periodic.index(True)
        cell = np.array(structure.cell)
        shift = cell[axis].copy()
        cell[axis] *= 2
    else:
        cell, shift = None, np.array([float(np.ptp(positions[:, 0])) + rcut + 1.0, 0.0, 0.0])
    aparam = structure.aparam
    return replace(
        structure,
        symbols=[*structure.symbols, *structure.symbols],
        positions=np.concatenate([positions, positions + shift]),
        cell=cell,
        pbc=structure.pbc if cell is not None else None,
        aparam=None if aparam is None else np.concatenate([aparam, aparam]),
    )
