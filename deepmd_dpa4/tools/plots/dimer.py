"""Energy and force of two atoms, beside the screened repulsion of their nuclei."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from deepmd_dpa4.config.elements import contact
from deepmd_dpa4.config.option import ConfigError
from deepmd_dpa4.graph.graph import Ends
from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.inference.structure import Structure
from deepmd_dpa4.model.zbl import ZBL
from deepmd_dpa4.tools.data.errors import DataError
from deepmd_dpa4.tools.plots.style import COLOURS, REFERENCE, picture

CORE = 0.6
"""Fraction of the sum of the covalent radii inside which the nuclei repel each other."""
SHALLOW, UNBOUND = 0.02, 2.0
"""Least depth in eV of a well that the plot is scaled to, and what stands for it where there is none."""
HOLE = 0.05
"""Energy in eV by which the core has to lie below the rest to count as a hole."""


@dataclass(frozen=True, slots=True)
class PairCurve:
    """Two atoms at some distances."""

    pair: tuple[str, str]
    distance: np.ndarray
    """Angstrom, increasing."""
    energy: np.ndarray
    """eV, zero where the atoms are further apart than the cutoff."""
    force: np.ndarray
    """-dE/dr, eV/Angstrom: positive pushes apart."""

    @property
    def core(self) -> float:
        """Distance in Angstrom below which no pair is bound: 0.6 times the sum of the covalent radii, else 0."""
        return CORE * (contact(*self.pair) or 0.0)

    @property
    def minimum(self) -> tuple[float, float] | None:
        """Distance and energy of the deepest bound minimum outside the core; None if there is none."""
        energy = self.energy
        inner = (energy[1:-1] <= energy[:-2]) & (energy[1:-1] < energy[2:]) & (energy[1:-1] < 0)
        found = np.flatnonzero(inner & (self.distance[1:-1] >= self.core)) + 1
        return self._point(found[energy[found].argmin()]) if len(found) else None

    @property
    def hole(self) -> tuple[float, float] | None:
        """Distance and energy of the lowest point inside the core, if it lies below all outside; else None."""
        inside = self.distance < self.core
        if not inside.any() or inside.all():
            return None
        lowest = int(np.where(inside, self.energy, np.inf).argmin())
        return self._point(lowest) if self.energy[lowest] < self.energy[~inside].min() - HOLE else None

    def _point(self, index: int) -> tuple[float, float]:
        return float(self.distance[index]), float(self.energy[index])


def model_curve(
    evaluator: Evaluator,
    pair: tuple[str, str],
    distance: np.ndarray,
    charge_spin: Sequence[float] | None = None,
) -> PairCurve:
    """Compute the curve of a model.

    Parameters
    ----------
    evaluator : Evaluator
        The model.
    pair : two str
        Names of types.
    distance : array
        (k,), Angstrom.
    charge_spin : sequence of float, optional
        Charge and spin multiplicity, for models that ask for them.

    Raises
    ------
    DataError
        If the model does not know a type, or a distance is not positive.
    """
    for option, symbol in zip(("A", "B"), pair):
        if symbol not in evaluator.type_map:
            raise DataError(f"`{option}` is {symbol!r} but must be one of {', '.join(evaluator.type_map)}")
    if not (distance > 0).all():
        raise DataError(f"`--from` is {distance.min():g} but must be positive")
    beyond = evaluator.rcut + 1.0
    structures = [
        Structure(pair, [[0, 0, 0], [0, 0, r]], charge_spin=charge_spin) for r in [*distance.tolist(), beyond]
    ]
    *close, apart = evaluator.evaluate(structures)
    energy = np.array([prediction.energy for prediction in close]) - apart.energy
    return PairCurve(pair, distance, energy, np.array([prediction.forces[1, 2] for prediction in close]))


def zbl_curve(pair: tuple[str, str], distance: np.ndarray) -> PairCurve | None:
    """Compute the curve of the ZBL repulsion; ``None`` if a type is not named after an element."""
    try:
        zbl = ZBL(list(dict.fromkeys(pair)), rcut=float("inf"))
    except ConfigError:
        return None
    types = [list(dict.fromkeys(pair)).index(symbol) for symbol in pair]
    r = torch.tensor(distance, dtype=torch.float64, requires_grad=True)
    count = len(distance)
    # each pair is two nodes and the two edges between them
    first, second = torch.arange(0, 2 * count, 2), torch.arange(1, 2 * count, 2)
    receiver, sender = torch.stack([first, second], 1).reshape(-1), torch.stack([second, first], 1).reshape(-1)
    vector = torch.nn.functional.pad(torch.stack([r, -r], 1).reshape(-1, 1), (2, 0))
    nodes = torch.tensor(types).repeat(count)
    energy = zbl(nodes, Ends(sender, receiver, 2 * count), vector).reshape(count, 2).sum(1)
    (slope,) = torch.autograd.grad(energy.sum(), r)
    return PairCurve(pair, distance, energy.detach().numpy(), -slope.numpy())


def clamp_zone(evaluator: Evaluator, pair: tuple[str, str]) -> tuple[float, float] | None:
    """Return the distances between which the network goes over to a frozen distance; ``None`` without zone bridging."""
    from deepmd_dpa4.config import BridgingConfig
    from deepmd_dpa4.config.parse import parse_group

    config: BridgingConfig = parse_group(BridgingConfig, evaluator.potential.get_model_def_script(), "model")
    if not config.enabled:
        return None
    unit = contact(*pair) if config.in_contacts else 1.0
    assert unit is not None
    return unit * config.bridging_r_inner, unit * config.bridging_r_outer


def windows(curve: PairCurve) -> dict[str, tuple[float, float]]:
    """Find ranges of energy (eV) and force (eV/Angstrom) in which a bond can be seen.

    Both reach from 1.25 times the depth of the minimum, and the strongest attraction outside the core, below zero to
    2.5 times above. Without a minimum the depth is taken as 2 eV and the attraction as 2 eV/Angstrom.
    """
    depth = attraction = UNBOUND
    if curve.minimum is not None:
        depth = max(-curve.minimum[1], SHALLOW)
        attraction = max(-float(curve.force[curve.distance >= curve.minimum[0]].min()), SHALLOW)
    return {name: (-1.25 * size, 2.5 * size) for name, size in (("energy", depth), ("force", attraction))}


def draw(
    curve: PairCurve,
    zbl: PairCurve | None,
    zone: tuple[float, float] | None,
    rcut: float,
    output: Path,
    title: str = "",
) -> None:
    """Draw energy and force: above the bond on linear axes, below everything on logarithmic ones.

    The latter are linear within 1 eV and 1 eV/Angstrom of zero.
    """
    from matplotlib.ticker import SymmetricalLogLocator

    window = windows(curve)
    columns = (("energy", "eV"), ("force", "eV/Å"))
    with picture(output, columns=2, rows=2, size=(4.6, 3.0), title=title) as (near, far):
        for axes, (name, unit) in zip((*near, *far), 2 * columns):
            if axes in far:
                axes.set_yscale("symlog", linthresh=1.0)
                axes.yaxis.set_minor_locator(SymmetricalLogLocator(base=10, linthresh=1.0, subs=range(2, 10)))
            else:
                axes.set_ylim(*window[name])
            axes.axhline(0.0, color=REFERENCE, linewidth=0.8)
            if zbl is not None:
                axes.plot(zbl.distance, getattr(zbl, name), "--", color=COLOURS[1], label="ZBL repulsion")
            axes.plot(curve.distance, getattr(curve, name), color=COLOURS[0], label="model")
            if zone is not None:
                axes.axvspan(*zone, color=COLOURS[4], alpha=0.25, label="bridging zone")
            if curve.distance[0] < rcut < curve.distance[-1]:
                axes.axvline(rcut, color=REFERENCE, linestyle=":", label="cutoff")
            axes.set(xlabel="distance (Å)", ylabel=f"{'-'.join(curve.pair)} {name} ({unit})")
        near[0].legend()
