"""A third atom beside two that are very close."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from deepmd_dpa4.config.elements import contact
from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.inference.structure import Prediction, Structure
from deepmd_dpa4.tools.check.instrument import Context, Line, Outcome, Pair, Plot, judge, largest_force, not_run

CLOSE = 0.45
"""Distance of the pair in sums of the covalent radii."""
AWAY = 2.0
"""Distance of the third atom in Angstrom; 0.8 sums of the covalent radii if that is more."""
ANGLES = (90.0, 120.0, 150.0, 180.0)
"""Between the directions from the first atom to the second and to the third, degrees."""
THIRDS = 6
"""Number of elements that the third atom runs through."""
ORDER = 10.0
"""Factor within which two numbers are of the same order."""
BOND = 10.0
"""What bonds to a third atom may add, eV and eV/Angstrom."""


@dataclass(frozen=True)
class Trimer:
    """Two close atoms, and a third at an angle or (None) far away."""

    pair: Pair
    third: str
    angle: float | None

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"{'-'.join(self.pair)} with {self.third} at {self.angle:g} degrees"

    def structure(self, context: Context, beyond: float) -> Structure:
        """Place the atoms; a far atom is ``beyond`` Angstrom away."""
        close = CLOSE * (contact(*self.pair) or 0.0)
        if self.angle is None:
            third = np.array([0.0, beyond, 0.0])
        else:
            away = max(AWAY, 0.8 * (contact(self.pair[0], self.third) or 0.0))
            turn = np.deg2rad(self.angle)
            third = away * np.array([np.cos(turn), np.sin(turn), 0.0])
        return context.structure((*self.pair, self.third), np.array([np.zeros(3), [close, 0.0, 0.0], third]))


@dataclass(frozen=True)
class Trimers:
    r"""Energies :math:`E_3` of two atoms at 0.45 contacts with a third one, and :math:`E_2` with that far away.

    Both against three isolated atoms. They have to be of the same order,
    :math:`\min(E_2/10, 10E_2) - 10 \le E_3 \le \max(E_2/10, 10E_2) + 10` eV, and so have the largest forces,
    :math:`F_3 \le 10 F_2 + 10` eV/Angstrom.
    """

    name: ClassVar[str] = "trimers"
    sound: ClassVar[str] = "a third atom leaves the order of energies and forces"

    def run(self, evaluator: Evaluator, context: Context) -> Outcome:
        """Test all pairs with all third atoms."""
        if not context.pairs:
            return not_run("the model has no types named after chemical elements")
        beyond = evaluator.rcut + 1.0
        families = list(families_of(context))
        trimers = [trimer for family in families for trimer in family]
        structures = [trimer.structure(context, beyond) for trimer in trimers]
        symbols = sorted({symbol for structure in structures for symbol in structure.symbols})
        atoms = [context.structure((symbol,), [[0.0, 0.0, 0.0]]) for symbol in symbols]
        found = evaluator.evaluate([*structures, *atoms])
        alone = {symbol: prediction.energy for symbol, prediction in zip(symbols, found[len(structures) :])}
        failures: list[tuple[float, str]] = []
        energies: list[tuple[float, float]] = []
        position = 0
        for family in families:
            pair, *others = found[position : position + len(family)]
            position += len(family)
            for trimer, prediction in zip(family[1:], others):
                free = sum(alone[symbol] for symbol in (*trimer.pair, trimer.third))
                energies.append((pair.energy - free, prediction.energy - free))
                failures += compare(trimer, *energies[-1], pair, prediction)
        failures.sort(key=lambda failure: -failure[0])
        e2, e3 = np.array(energies).T
        numbers = {
            "trimers": len(energies),
            "of another order": len({text.split(":")[0] for _, text in failures}),
            "largest change of energy (eV)": float(np.abs(e3 - e2).max()),
        }
        return judge([text for _, text in failures], numbers, [draw(e2, e3)])


def families_of(context: Context) -> Iterator[list[Trimer]]:
    """Yield for each pair and third atom the trimer with that far away, then those with it near."""
    for pair in context.pairs:
        for third in dict.fromkeys((*pair, *context.elements[: THIRDS - 2])):
            yield [Trimer(pair, third, angle) for angle in (None, *ANGLES)]


def compare(trimer: Trimer, e2: float, e3: float, pair: Prediction, found: Prediction) -> Iterator[tuple[float, str]]:
    """Yield what is of another order, with the size of the change."""
    low, high = min(e2 / ORDER, e2 * ORDER) - BOND, max(e2 / ORDER, e2 * ORDER) + BOND
    if not low <= e3 <= high:
        yield abs(e3 - e2), f"{trimer.name}: {e3:.4g} eV, {e2:.4g} eV without the third atom"
    f2, f3 = largest_force(pair.forces), largest_force(found.forces)
    if not np.isfinite(f3) or f3 > ORDER * f2 + BOND:
        yield f3, f"{trimer.name}: force of {f3:.4g} eV/A, {f2:.4g} eV/A without the third atom"


def draw(e2: np.ndarray, e3: np.ndarray) -> Plot:
    """Make the panel of all trimers."""
    ends = np.array([min(e2.min(), e3.min()), max(e2.max(), e3.max())])
    lines = (Line("trimers", e2, e3), Line("equal", ends, ends))
    labels = "energy of the pair (eV)", "energy with the third atom (eV)"
    return Plot("Trimers", *labels, lines, "symlog", "symlog", points=True)
