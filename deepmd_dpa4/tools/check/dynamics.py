"""Molecular dynamics at constant energy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from deepmd_dpa4.config.elements import ELEMENTS
from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.inference.structure import Structure
from deepmd_dpa4.tools.check.instrument import (
    Context,
    Line,
    Outcome,
    Plot,
    Sample,
    exceeds,
    judge,
    largest_force,
    moved,
    not_run,
)

DRIFT = 0.05
"""Largest drift of the total energy, as a share of the mean kinetic energy."""
PART = 5
"""The drift is the difference of the means over the first and the last one of so many parts: within a vibration the
total energy of a sound potential oscillates, by the time step squared."""
FORCE = 50.0
"""Largest sound force in eV/Angstrom; collisions at 4000 K reach about 20."""
HYDROGEN_STEP, LONGEST_STEP = 0.25, 1.0
"""Time step in fs for hydrogen; heavier atoms take one longer by the root of their mass, up to the second."""
ATOMS = 120
"""Atoms of all trajectories of one temperature together."""
COUNT = 4
RELAXATION, STRIDE = 40, 0.05
"""Steps downhill before the dynamics, and the farthest that an atom moves in one, Angstrom."""
SOFT = 0.02
"""Displacement for each force in these steps, A^2/eV."""


@dataclass
class Trajectory:
    """Atoms on their way, in units of ASE: masses (n, 1), velocities (n, 3), time step."""

    name: str
    structure: Structure
    forces: np.ndarray
    masses: np.ndarray
    velocity: np.ndarray
    step: float

    @property
    def kinetic(self) -> float:
        """Compute the kinetic energy, eV."""
        return float(0.5 * np.sum(self.masses * self.velocity**2))


@dataclass(frozen=True)
class Dynamics:
    """Total energy E_pot + E_kin and largest force along trajectories of velocity Verlet.

    They start at 300 K and hotter from structures relaxed a little. Sound are drifts of the total energy below 5 % of
    the mean kinetic energy, and forces below 50 eV/Angstrom.
    """

    name: ClassVar[str] = "dynamics"
    sound: ClassVar[str] = "total energy drifts less than 5 % of the kinetic one, forces below 50 eV/Å"

    def run(self, evaluator: Evaluator, context: Context) -> Outcome:
        """Run all trajectories side by side."""
        starts = chosen(context.samples)
        if not starts or context.steps < 1:
            return not_run("there are no structures to start from" if not starts else "--steps is 0")
        relaxed = relax(evaluator, [sample.structure for sample in starts])
        calm = [Sample(sample.name, structure) for sample, structure in zip(starts, relaxed)]
        runs = start(evaluator, calm, context)
        total, kinetic, force = integrate(evaluator, runs, context)
        atoms = np.array([len(run.masses) for run in runs])
        part = max(1, len(total) // PART)
        change = np.abs(total[-part:].mean(axis=0) - total[:part].mean(axis=0)) / atoms
        mean = kinetic.mean(axis=0) / atoms
        share, largest = change / mean, force.max(axis=0)
        failures = [
            f"{runs[index].name}: total energy drifts by {1000 * change[index]:.4g} meV/atom, "
            f"{100 * share[index]:.3g} % of the kinetic energy"
            for index in np.argsort(-np.nan_to_num(share, nan=np.inf))
            if exceeds(share[index], DRIFT)
        ]
        failures += [
            f"{runs[index].name}: force of {largest[index]:.4g} eV/A at step {int(force[:, index].argmax())}"
            for index in np.argsort(-largest)
            if exceeds(largest[index], FORCE)
        ]
        numbers = {
            "trajectories": len(runs),
            "steps": context.steps,
            "largest drift of the total energy (meV/atom)": float(1000 * change.max()),
            "as a share of the kinetic energy": float(share.max()),
            "largest force (eV/A)": float(force.max()),
        }
        times = np.outer(np.arange(len(total)), [run.step / fs() for run in runs])
        return judge(failures, numbers, draw(runs, times, (total - total[0]) / atoms, force))


def fs() -> float:
    """Return a femtosecond in units of ASE."""
    from ase.units import fs as unit

    return float(unit)


def chosen(samples: Sequence[Sample]) -> list[Sample]:
    """Take a few small samples of chemical elements, near a minimum of the energy, several kinds first."""
    usable = [sample for sample in samples if sample.calm and set(sample.structure.symbols) <= set(ELEMENTS)]
    kinds = {tuple(sorted(set(sample.structure.symbols))): sample for sample in reversed(usable)}
    taken: list[Sample] = []
    atoms = 0
    for sample in sorted(kinds.values(), key=lambda sample: len(sample.structure.symbols)):
        atoms += len(sample.structure.symbols)
        if len(taken) < COUNT and (atoms <= ATOMS or not taken):
            taken.append(sample)
    return taken


def relax(evaluator: Evaluator, structures: list[Structure]) -> list[Structure]:
    """Go downhill for some steps, no atom farther than 0.05 Angstrom in one."""
    for _ in range(RELAXATION):
        found = evaluator.evaluate(structures)
        strides = [min(SOFT, STRIDE / max(largest_force(prediction.forces), 1e-9)) for prediction in found]
        structures = [
            moved(structure, stride * prediction.forces)
            for structure, stride, prediction in zip(structures, strides, found)
        ]
    return structures


def start(evaluator: Evaluator, samples: Sequence[Sample], context: Context) -> list[Trajectory]:
    """Give the atoms of each sample velocities of each temperature, without a motion of the whole."""
    from ase.data import atomic_masses
    from ase.units import kB

    rng = np.random.default_rng(context.seed)
    runs = []
    for sample, prediction in zip(samples, evaluator.evaluate([sample.structure for sample in samples])):
        masses = atomic_masses[[ELEMENTS.index(symbol) + 1 for symbol in sample.structure.symbols]][:, None]
        step = min(LONGEST_STEP, HYDROGEN_STEP * float(np.sqrt(masses.min() / atomic_masses[1]))) * fs()
        for temperature in context.temperatures:
            velocity = rng.normal(size=(len(masses), 3)) * np.sqrt(kB * temperature / masses)
            velocity -= (masses * velocity).sum(axis=0) / masses.sum()
            name = f"{sample.name} at {temperature:g} K"
            runs.append(Trajectory(name, sample.structure, prediction.forces, masses, velocity, step))
    return runs


def integrate(
    evaluator: Evaluator, runs: list[Trajectory], context: Context
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run velocity Verlet; total and kinetic energies (eV) and largest forces (eV/A), (steps + 1, trajectories)."""
    total, kinetic, force = np.full((3, context.steps + 1, len(runs)), np.nan)

    def note(row: int, energies: list[float]) -> None:
        kinetic[row] = [run.kinetic for run in runs]
        total[row] = kinetic[row] + energies
        force[row] = [largest_force(run.forces) for run in runs]

    note(0, [found.energy for found in evaluator.evaluate([run.structure for run in runs])])
    for step in range(1, context.steps + 1):
        context.progress(step, context.steps)
        for run in runs:
            run.velocity = run.velocity + 0.5 * run.step * run.forces / run.masses
            run.structure = moved(run.structure, run.step * run.velocity)
        found = evaluator.evaluate([run.structure for run in runs])
        for run, prediction in zip(runs, found):
            run.forces = prediction.forces
            run.velocity = run.velocity + 0.5 * run.step * run.forces / run.masses
        note(step, [prediction.energy for prediction in found])
        if not np.isfinite(total[step]).all() or force[step].max() > 20 * FORCE:
            # atoms that fly apart would leave cells by thousands of vectors
            return total[: step + 1], kinetic[: step + 1], force[: step + 1]
    return total, kinetic, force


def draw(runs: list[Trajectory], times: np.ndarray, change: np.ndarray, force: np.ndarray) -> list[Plot]:
    """Make the panels of energies and forces."""
    some = np.unique(np.linspace(0, len(times) - 1, 300).astype(int))
    panels = (
        ("Total energy", "change (meV/atom)", 1000 * change, "linear"),
        ("Forces", "largest (eV/Å)", force, "log"),
    )
    return [
        Plot(
            title,
            "time (fs)",
            label,
            tuple(Line(run.name, times[some, i], values[some, i]) for i, run in enumerate(runs)),
            y_scale=scale,
        )
        for title, label, values, scale in panels
    ]
