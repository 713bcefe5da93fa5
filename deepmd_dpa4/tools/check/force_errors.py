"""Errors of forces on data, atom by atom."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.tools.check.instrument import Context, Line, Outcome, Plot, exceeds, judge, not_run

NEEDLE = 100.0
"""Error of one atom's force in eV/Angstrom that no fit explains."""
RATIO = 2.0
"""Largest sound RMSE/MAE: 1.25 for a normal distribution, 1.41 for a Laplace distribution."""
BATCH = 16
"""Structures evaluated in one call."""
SHOWN = 5


@dataclass(frozen=True)
class ForceErrors:
    r"""Errors :math:`|F_i - F_i^{ref}|` of atoms, and RMSE and MAE of force components.

    A few absurd atoms hardly move the MAE but carry the RMSE. Sound are errors below 100 eV/Angstrom and
    RMSE/MAE up to 2.
    """

    name: ClassVar[str] = "errors"
    sound: ClassVar[str] = "every atom below 100 eV/Å, RMSE/MAE up to 2"

    def run(self, evaluator: Evaluator, context: Context) -> Outcome:
        """Compare all labelled samples."""
        samples = context.labelled
        if not samples:
            return not_run("there are no labelled forces; give some with --data")
        differences = []
        for start in range(0, len(samples), BATCH):
            context.progress(start, len(samples))
            batch = samples[start : start + BATCH]
            predictions = evaluator.evaluate([sample.structure for sample in batch])
            differences += [
                found.forces - sample.forces for found, sample in zip(predictions, batch) if sample.forces is not None
            ]
        errors = [np.linalg.norm(difference, axis=1) for difference in differences]
        components = np.concatenate([difference.ravel() for difference in differences])
        rmse, mae = float(np.sqrt(np.mean(components**2))), float(np.abs(components).mean())
        every = np.concatenate(errors)
        # a perfect model has no ratio
        ratio = rmse / mae if mae > 0 else 1.0
        owner = np.repeat(np.arange(len(samples)), [len(error) for error in errors])
        atom = np.concatenate([np.arange(len(error)) for error in errors])
        order = np.argsort(-np.nan_to_num(every, nan=np.inf))
        failures = [
            f"{samples[owner[index]].name}, atom {atom[index]} "
            f"({samples[owner[index]].structure.symbols[atom[index]]}): error {every[index]:.4g} eV/A"
            for index in order[:SHOWN]
            if exceeds(every[index], NEEDLE)
        ]
        if exceeds(ratio, RATIO):
            share = float(np.sort(every**2)[::-1][: max(1, len(every) // 1000)].sum() / np.sum(every**2))
            failures.append(
                f"RMSE/MAE is {ratio:.3g}: the worst 0.1 % of the atoms carry {100 * share:.1f} % of the squared error"
            )
        numbers = {
            "structures": len(samples),
            "force RMSE (eV/A)": rmse,
            "force MAE (eV/A)": mae,
            "RMSE/MAE": ratio,
            "largest error of an atom (eV/A)": float(every.max()),
        }
        return judge(failures, numbers, [draw(every)])


def draw(errors: np.ndarray) -> Plot:
    """Make the panel: the share of atoms whose error is larger."""
    ordered = np.sort(errors)[::-1]
    chosen = np.unique(np.geomspace(1, len(ordered), min(len(ordered), 400)).astype(int)) - 1
    lines = (Line("atoms", ordered[chosen], (chosen + 1) / len(ordered)),)
    labels = "error of an atom's force (eV/Å)", "share of atoms with a larger one"
    return Plot("Force errors", *labels, lines, "log", "log")
