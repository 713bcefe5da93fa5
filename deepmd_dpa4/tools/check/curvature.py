"""Curvature of the energy along the force."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.tools.check.instrument import Context, Line, Outcome, Plot, exceeds, judge, moved, not_run

SHIFT = 1e-3
"""Displacement of the difference, Angstrom: forces of single precision resolve 1 eV/Angstrom^2 at 100 eV/Angstrom."""
FLAT, SOFT, LARGEST = 300.0, 0.1, 100.0
"""Curvature that is allowed without forces (eV/A^2); range over which a force may change by itself (A), up to
a size (eV/A)."""


def ceiling(force: np.ndarray) -> np.ndarray:
    r"""Return the largest sound curvature, :math:`300 + \min(|F|, 100)/0.1` eV/A^2, of norms of forces in eV/A."""
    return FLAT + np.minimum(force, LARGEST) / SOFT


@dataclass(frozen=True)
class Curvature:
    r"""Second derivative along the force of all atoms, from one central difference of forces.

    .. math:: c = u^T H u \approx -\frac{[F(x + hu) - F(x - hu)] \cdot u}{2h}, \qquad u = F / |F|

    with h = 0.001 Angstrom; a difference of energies would drown in single precision. Sound are
    :math:`|c| < 300 + \min(|F|, 100)/0.1` eV/Angstrom^2.
    """

    name: ClassVar[str] = "curvature"
    sound: ClassVar[str] = "|c| < 300 + min(|F|, 100)/0.1 eV/A²"
    count: int = 48
    atoms: int = 2000

    def run(self, evaluator: Evaluator, context: Context) -> Outcome:
        """Measure all samples at once."""
        samples = context.some(self.count, self.atoms)
        if not samples:
            return not_run("there are no structures; give some with --data")
        rng = np.random.default_rng(context.seed)
        forces = [found.forces for found in evaluator.evaluate([sample.structure for sample in samples])]
        context.progress(1, 3)
        directions = [direction(force, rng) for force in forces]
        shifted = [
            moved(sample.structure, sign * SHIFT * along)
            for sign in (1, -1)
            for sample, along in zip(samples, directions)
        ]
        ends = evaluator.evaluate(shifted)
        size = np.array([float(np.linalg.norm(force)) for force in forces])
        curvature = np.array(
            [
                -float(np.sum((ahead.forces - back.forces) * along)) / (2 * SHIFT)
                for ahead, back, along in zip(ends, ends[len(samples) :], directions)
            ]
        )
        ratio = np.abs(curvature) / ceiling(size)
        order = np.argsort(-np.nan_to_num(ratio, nan=np.inf))
        failures = [
            f"{samples[index].name}: curvature {curvature[index]:.4g} eV/A^2 at a force of {size[index]:.4g} eV/A, "
            f"sound below {ceiling(size[index]):.0f}"
            for index in order
            if exceeds(ratio[index], 1.0)
        ]
        numbers = {
            "structures": len(samples),
            "largest curvature (eV/A^2)": float(np.abs(curvature).max()),
            "largest share of the ceiling": float(ratio.max()),
        }
        return judge(failures, numbers, [draw(size, np.abs(curvature))])


def direction(force: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the unit vector (n, 3) along a force; a random one where symmetry leaves none."""
    norm = float(np.linalg.norm(force))
    if not (np.isfinite(norm) and norm > 1e-6):
        force = rng.normal(size=force.shape)
        norm = float(np.linalg.norm(force))
    return force / norm


def draw(size: np.ndarray, curvature: np.ndarray) -> Plot:
    """Make the panel of all structures."""
    known = size[np.isfinite(size)]
    line = np.geomspace(max(float(known.min(initial=1.0)), 1e-2), max(float(known.max(initial=1.0)), 1.0), 50)
    lines = (Line("structures", size, curvature), Line("ceiling", line, ceiling(line)))
    labels = "force of all atoms (eV/Å)", "curvature (eV/Å²)"
    return Plot("Curvature along the force", *labels, lines, "log", "log", points=True)
