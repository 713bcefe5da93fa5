"""Energy and forces when an atom crosses the cutoff of another."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.inference.structure import Structure
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

NEAR = 1e-4
"""Distance to either side of the cutoff, Angstrom."""
ENERGY, FORCE = 1e-4, 1e-3
"""Largest sound steps of the energy (eV) and of a force (eV/Angstrom)."""


@dataclass(frozen=True)
class CutoffContinuity:
    r"""Steps at the cutoff.

    An atom moves from :math:`r_c - 10^{-4}` to :math:`r_c + 10^{-4}` Angstrom from the outermost atom of a cluster, or
    from a single atom. Sound are steps below 0.1 meV and 1 meV/Angstrom, plus the rounding of the file's precision.
    """

    name: ClassVar[str] = "cutoff"
    sound: ClassVar[str] = "steps below 0.1 meV and 1 meV/Å"
    count: int = 16
    atoms: int = 600

    def run(self, evaluator: Evaluator, context: Context) -> Outcome:
        """Cross the cutoff at pairs and at clusters."""
        crossings = [
            (
                "-".join(pair),
                *(context.structure(pair, np.array([[0, 0, 0], [0, 0, r]])) for r in sides(evaluator.rcut)),
            )
            for pair in context.pairs
        ]
        crossings += [
            (sample.name, *(with_probe(sample.structure, r) for r in sides(evaluator.rcut)))
            for sample in context.some(self.count, self.atoms)
            if sample.structure.aparam is None
        ]
        if not crossings:
            return not_run("there are no structures; give some with --data")
        names, inside, outside = zip(*crossings)
        found = list(zip(evaluator.evaluate(inside), evaluator.evaluate(outside)))
        steps = np.array([(abs(one.energy - two.energy), largest_force(one.forces - two.forces)) for one, two in found])
        unit = rounding(evaluator) / 10  # nothing turns: the same numbers are summed
        limits = np.array(
            [
                (ENERGY + unit * float(np.abs(two.atom_energies).sum()), FORCE + unit * largest_force(two.forces))
                for _, two in found
            ]
        )
        share = (steps / limits).max(axis=1)
        failures = [
            f"{names[index]}: steps of {1000 * steps[index, 0]:.3g} meV and {1000 * steps[index, 1]:.3g} meV/A at the "
            "cutoff"
            for index in np.argsort(-np.nan_to_num(share, nan=np.inf))
            if exceeds(share[index], 1.0)
        ]
        numbers = {
            "crossings": len(names),
            "largest step of the energy (meV)": float(1000 * steps[:, 0].max()),
            "largest step of a force (meV/A)": float(1000 * steps[:, 1].max()),
        }
        return judge(failures, numbers, [draw(steps)])


def sides(rcut: float) -> tuple[float, float]:
    """Return distances in Angstrom just inside and just outside the cutoff."""
    return rcut - NEAR, rcut + NEAR


def with_probe(structure: Structure, distance: float) -> Structure:
    """Return the atoms as a cluster, and one more at ``distance`` (Angstrom) outwards from the outermost along x.

    All others are farther from it.
    """
    positions = np.asarray(structure.positions)
    outermost = int(positions[:, 0].argmax())
    probe = positions[outermost] + [distance, 0.0, 0.0]
    symbols = [*structure.symbols, structure.symbols[outermost]]
    return replace(structure, symbols=symbols, positions=np.vstack([positions, probe]), cell=None, pbc=None)


def draw(steps: np.ndarray) -> Plot:
    """Make the panel of all crossings."""
    x = np.arange(len(steps), dtype=float)
    names = ("energy (meV)", "force (meV/Å)")
    lines = [Line(name, x, np.maximum(1000 * steps[:, column], 1e-12)) for column, name in enumerate(names)]
    return Plot("Steps at the cutoff", "crossing", "step", tuple(lines), y_scale="log")
