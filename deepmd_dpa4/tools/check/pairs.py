"""Energy of two isolated atoms: holes, tails and extra minima."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.signal import find_peaks

from deepmd_dpa4.config.elements import contact
from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.model.zbl import COULOMB
from deepmd_dpa4.tools.check.choice import LISTED
from deepmd_dpa4.tools.check.instrument import Context, Line, Outcome, Pair, Plot, judge, not_run
from deepmd_dpa4.tools.plots.dimer import HOLE, PairCurve, model_curve, zbl_curve

START, STEP, BEYOND = 0.3, 0.005, 1.0
"""Shortest distance, step, and how far beyond the cutoff the survey goes, Angstrom."""
TAIL = 4.5
"""Distance in Angstrom from which a curve has to go to zero without humps."""
RIPPLE = 0.005
"""Depth in eV below which a minimum or a hump does not count."""
H2 = ((0.74, 0.03), (-4.5, 0.5))
"""Bond length in Angstrom and energy in eV of the hydrogen molecule, with what they may be off."""


@dataclass(frozen=True)
class PairSurvey:
    r"""Energy E(r) of two isolated atoms, zero where they are further apart than the cutoff.

    A sound curve has no hole, :math:`\min_{r<0.6c} E \ge \min_{r\ge 0.6c} E - 0.05` eV with the sum c of the covalent
    radii; at most one minimum deeper than 5 meV; and a tail that is monotonic within 5 meV with
    :math:`|F| \le 14.4/r^2` eV/Angstrom, the force of two unit charges.
    """

    name: ClassVar[str] = "pairs"
    sound: ClassVar[str] = "no hole, one minimum, smooth tail"
    step: float = STEP

    def run(self, evaluator: Evaluator, context: Context) -> Outcome:
        """Survey all pairs."""
        if not context.pairs:
            return not_run("the model has no types named after chemical elements")
        distance = np.arange(START, evaluator.rcut + BEYOND + self.step / 2, self.step)
        failures: list[tuple[float, str]] = []
        plots = []
        for number, pair in enumerate(context.pairs):
            context.progress(number, len(context.pairs))
            curve = model_curve(evaluator, pair, distance, context.charge_spin)
            failures += faults(curve, evaluator.rcut)
            plots.append(draw(curve, context))
        failures.sort(key=lambda fault: -fault[0])
        bad = {text.split(":")[0] for _, text in failures}
        holes = [size for size, text in failures if ": hole" in text]
        numbers = {
            "pairs": len(context.pairs),
            "pairs with faults": len(bad),
            "pairs with holes": len(holes),
            "deepest hole (eV)": max(holes, default=0.0),
        }
        return judge([text for _, text in failures], numbers, plots)


def faults(curve: PairCurve, rcut: float) -> Iterator[tuple[float, str]]:
    """Yield what is wrong with a curve, with its size in eV."""
    name = "-".join(curve.pair)
    if not (np.isfinite(curve.energy).all() and np.isfinite(curve.force).all()):
        yield float("inf"), f"{name}: energies or forces are not finite"
        return
    hole = curve.hole
    if hole is not None:
        depth = float(curve.energy[curve.distance >= curve.core].min()) - hole[1]
        yield depth, f"{name}: hole of {hole[1]:.4g} eV at {hole[0]:.3f} A, {depth:.4g} eV below all outside the core"
    found = minima(curve)
    if len(found) > 1:
        places = ", ".join(f"{r:.2f} A ({energy:.4g} eV)" for r, energy, _ in found)
        yield sorted(depth for _, _, depth in found)[-2], f"{name}: {len(found)} minima, at {places}"
    if not found and is_listed(curve.pair):
        yield RIPPLE, f"{name}: no minimum, but the atoms form a molecule"
    yield from tail_faults(curve, rcut)
    if curve.pair == ("H", "H") and found:
        yield from h2_faults(curve)


def is_listed(pair: Pair) -> bool:
    """Tell whether a pair is one of the standard survey, all of which are bound."""
    return pair in LISTED or pair[::-1] in LISTED


def minima(curve: PairCurve) -> list[tuple[float, float, float]]:
    """Find distance (Angstrom), energy and depth (eV) of all minima; depth is below the lower of the ways out.

    An energy that falls towards the shortest distance counts: atoms that come so close collapse.
    """
    # a wall before the first point makes that a minimum where the energy falls inwards
    wall = float(np.abs(curve.energy).max()) * 2 + 1
    peaks, properties = find_peaks(-np.concatenate([[wall], curve.energy]), prominence=RIPPLE)
    found = []
    for index, depth in zip(peaks - 1, properties["prominences"]):
        energy = float(curve.energy[index])
        if depth > 1e-5 * abs(energy):  # what single precision resolves
            found.append((float(curve.distance[index]), energy, float(depth)))
    return found


def tail_start(pair: Pair, rcut: float) -> float:
    """Return where the tail begins, Angstrom: 4.5, earlier for short cutoffs, later for large atoms."""
    return max(min(TAIL, 0.75 * rcut), 1.2 * (contact(*pair) or 0.0))


def tail_faults(curve: PairCurve, rcut: float) -> Iterator[tuple[float, str]]:
    """Yield humps and too large forces of the tail."""
    name = "-".join(curve.pair)
    there = curve.distance >= tail_start(curve.pair, rcut)
    r, energy, force = curve.distance[there], curve.energy[there], np.abs(curve.force[there])
    if not len(r):
        return
    fall, rise = np.maximum.accumulate(energy) - energy, energy - np.minimum.accumulate(energy)
    # a curve may rise or fall to zero; the smaller deviation is that from the way it goes
    hump = min(fall, rise, key=lambda deviation: float(deviation.max()))
    if hump.max() > RIPPLE:
        yield float(hump.max()), f"{name}: hump of {hump.max():.3g} eV in the tail, at {r[hump.argmax()]:.2f} A"
    excess = force * r**2 / COULOMB
    if excess.max() > 1:
        worst = int(excess.argmax())
        limit = COULOMB / r[worst] ** 2
        yield (
            float(force[worst]),
            f"{name}: force of {force[worst]:.3g} eV/A at {r[worst]:.2f} A, where two unit charges have {limit:.2f}",
        )


def h2_faults(curve: PairCurve) -> Iterator[tuple[float, str]]:
    """Yield what is wrong with the hydrogen molecule."""
    place = curve.minimum
    if place is None or any(abs(value - right) > off for value, (right, off) in zip(place, H2)):
        text = "unbound" if place is None else f"{place[1]:.3f} eV at {place[0]:.3f} A"
        size = 4.5 if place is None else abs(place[1] - H2[1][0])
        yield size, f"H-H: the molecule is {text} but should have -4.5 +- 0.5 eV at 0.74 +- 0.03 A"


def draw(curve: PairCurve, context: Context) -> Plot:
    """Make the panel of a pair: the model, the ZBL repulsion, and the reference if there is one."""
    lines = [Line("model", curve.distance, curve.energy)]
    zbl = zbl_curve(curve.pair, curve.distance)
    if zbl is not None:
        lines.append(Line("ZBL", zbl.distance, zbl.energy))
    reference = context.references.get(curve.pair) or context.references.get(curve.pair[::-1])
    if reference is not None:
        lines.append(Line("reference", reference.distance, reference.energy))
    title = f"{'-'.join(curve.pair)}, hole below {HOLE:g} eV, core below {curve.core:.2f} Å"
    return Plot(title, "distance (Å)", "energy (eV)", tuple(lines), y_scale="symlog")
