"""Climb to larger forces nearby."""

from dataclasses import dataclass
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
    moved,
    not_run,
)

BALL = 0.05
"""Largest distance from the start, Angstrom, in the space of all coordinates."""
STEPS = 40
STRIDE = BALL / 8
"""Length of a step, Angstrom."""
SHIFT = 1e-3
"""Displacement of the difference, Angstrom."""
FLOOR = 1.0
"""Force in eV/Angstrom below which a start counts as having this force: at rest any factor could come out."""
LIMIT = 20.0
"""Sound factors are about 3, defects give 200 to 300."""


@dataclass(frozen=True)
class HillClimb:
    r"""Factor by which the largest force grows within 0.05 Angstrom of a structure.

    Forty steps along :math:`\nabla |F_i| = -H e \approx [F(x + he) - F(x)]/h`, where i is the atom with the
    largest force and e has its direction on this atom and zero elsewhere; H is the symmetric matrix of second
    derivatives. Sound are factors below 20 of :math:`\max(|F_i(x_0)|, 1)` eV/Angstrom.
    """

    name: ClassVar[str] = "hill"
    sound: ClassVar[str] = "largest force grows less than 20-fold within 0.05 Å"
    count: int = 12
    atoms: int = 160

    def run(self, evaluator: Evaluator, context: Context) -> Outcome:
        """Climb from several samples at once."""
        samples = context.some(self.count, self.atoms)
        if not samples:
            return not_run("there are no structures; give some with --data")
        starts = [sample.structure for sample in samples]
        heights = np.empty((STEPS + 1, len(starts)))
        now = starts
        for step in range(STEPS + 1):
            context.progress(step, STEPS + 1)
            forces = [found.forces for found in evaluator.evaluate(now)]
            heights[step] = [largest_force(force) for force in forces]
            if step < STEPS:
                now = climb(evaluator, starts, now, forces)
        factor = heights.max(axis=0) / np.maximum(heights[0], FLOOR)
        # from a start that is not finite everything is
        factor[~np.isfinite(factor)] = np.inf
        failures = [
            f"{samples[index].name}: largest force grows from {heights[0, index]:.4g} to {heights[:, index].max():.4g} "
            f"eV/A within {BALL:g} A"
            for index in np.argsort(-factor)
            if exceeds(factor[index], LIMIT)
        ]
        numbers = {
            "structures": len(samples),
            "largest factor": float(factor.max()),
            "largest force (eV/A)": float(heights.max()),
        }
        return judge(failures, numbers, [draw(heights)])


def climb(
    evaluator: Evaluator, starts: list[Structure], now: list[Structure], forces: list[np.ndarray]
) -> list[Structure]:
    """Take one step up each, and back into the ball around the start."""
    pushes = [push(force) for force in forces]
    ahead = evaluator.evaluate([moved(at, SHIFT * e) for at, e in zip(now, pushes)])
    following = []
    for start, at, plus, force in zip(starts, now, ahead, forces):
        slope = plus.forces - force
        norm = float(np.linalg.norm(slope))
        step = slope * (STRIDE / norm) if np.isfinite(norm) and norm > 0 else np.zeros_like(slope)
        away = np.asarray(at.positions) + step - start.positions
        away = away * min(1.0, BALL / max(float(np.linalg.norm(away)), 1e-12))
        following.append(moved(start, away))
    return following


def push(force: np.ndarray) -> np.ndarray:
    """Return the direction of the largest force on its atom, zero elsewhere, (n, 3)."""
    lengths = np.linalg.norm(np.nan_to_num(force), axis=1)
    direction = np.zeros_like(force)
    atom = int(lengths.argmax())
    # where symmetry leaves no force any direction will do
    direction[atom] = force[atom] / lengths[atom] if lengths[atom] > 1e-9 else [1.0, 0.0, 0.0]
    return direction


def draw(heights: np.ndarray) -> Plot:
    """Make the panel of all climbs."""
    steps = np.arange(len(heights), dtype=float)
    lines = tuple(Line("", steps, heights[:, index]) for index in range(heights.shape[1]))
    return Plot("Hill climb", "step", "largest force (eV/Å)", lines, y_scale="log")
