"""Statistics of data sets, gathered one frame at a time."""

from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from deepmd_dpa4.tools.data.checks import Inspector, Kind, pairs_within
from deepmd_dpa4.tools.data.frame import Frame, Place, by_element
from deepmd_dpa4.tools.data.limits import Limits
from deepmd_dpa4.tools.data.reader import frames_of, sets, systems
from deepmd_dpa4.tools.data.stress import UNITS, StressAudit

COLUMNS = ("energy", "max_force", "pressure", "volume", "atoms", "distance")
# Force components are counted in bins of a tenth of a decade, eV/Angstrom.
FORCE_BINS = np.logspace(-5, 4, 91)


@dataclass
class Statistics:
    """What the frames of data sets are like.

    Takes about 80 bytes for each frame, 8 of them to find structures that come twice, and does not keep atoms.
    """

    inspector: Inspector
    cutoff: float
    """Distances beyond it are not looked for, Angstrom."""
    places: list[str] = field(default_factory=list)
    """Folders of sets."""
    place: array = field(default_factory=lambda: array("l"))
    """Number of the folder of each frame; this and the next are as long as all columns."""
    index: array = field(default_factory=lambda: array("l"))
    """Position in it."""
    composition: array = field(default_factory=lambda: array("l"))
    """Number of the composition of each frame."""
    columns: dict[str, array] = field(default_factory=lambda: {name: array("d") for name in COLUMNS})
    """A number for each frame, NaN where it has none; see :meth:`row`."""
    compositions: dict[tuple[tuple[str, int], ...], int] = field(default_factory=dict)
    elements: Counter[str] = field(default_factory=Counter)
    """Atoms of each element."""
    missing: Counter[str] = field(default_factory=Counter)
    """Frames without a label."""
    problems: Counter[Kind] = field(default_factory=Counter)
    examples: dict[Kind, tuple[Place, str]] = field(default_factory=dict)
    """The first frame of each kind."""
    nearest: dict[tuple[str, str], tuple[float, Place]] = field(default_factory=dict)
    """Shortest distance of each pair of elements, Angstrom, and where it is."""
    force_counts: np.ndarray = field(default_factory=lambda: np.zeros(len(FORCE_BINS) - 1, dtype=np.int64))
    """Absolute force components in :data:`FORCE_BINS`; beyond the ends in the first and last."""
    stress: StressAudit = field(default_factory=StressAudit)
    frames: int = 0
    """All frames, also those that cannot be used."""

    def add(self, frame: Frame) -> None:
        """Take a frame into account; one that cannot be trained on is only counted among the problems."""
        self.frames += 1
        problems = self.inspector.problems(frame)
        for problem in problems:
            self.problems[problem.kind] += 1
            self.examples.setdefault(problem.kind, (frame.place, problem.detail))
        frame = frame.with_finite_labels()
        labels = {"energy": frame.energy, "force": frame.force, "virial": frame.virial}
        self.missing.update(name for name, value in labels.items() if value is None)
        if any(problem.kind.fatal for problem in problems):
            return
        if not self.places or self.places[-1] != frame.place.source:
            self.places.append(frame.place.source)
        self.place.append(len(self.places) - 1)
        self.index.append(frame.place.index)
        composition = frame.composition
        self.composition.append(self.compositions.setdefault(composition, len(self.compositions)))
        self.elements.update(dict(composition))
        self.stress.add(frame)
        for name, value in self.row(frame).items():
            self.columns[name].append(value)

    def row(self, frame: Frame) -> dict[str, float]:
        """Compute the numbers of a frame: eV/atom, eV/Angstrom, GPa, Angstrom^3/atom, 1, Angstrom."""
        atoms, nan = len(frame.symbols), float("nan")
        row = dict.fromkeys(COLUMNS, nan) | {"atoms": atoms, "distance": self.distances(frame)}
        if frame.energy is not None:
            row["energy"] = frame.energy / atoms
        if frame.force is not None:
            size = np.abs(frame.force)
            row["max_force"] = float(size.max())
            self.force_counts += np.histogram(size.clip(FORCE_BINS[0], FORCE_BINS[-1]), FORCE_BINS)[0]
        if frame.cell is not None:
            row["volume"] = frame.volume / atoms
            if frame.virial is not None:
                row["pressure"] = float(np.trace(frame.virial)) / 3 / frame.volume / UNITS["GPa"]
        return row

    def distances(self, frame: Frame) -> float:
        """Find the shortest distance in a frame, NaN beyond the cutoff, and note that of each pair of elements."""
        first, second, distance = pairs_within(frame, self.cutoff)
        names = sorted(set(frame.symbols))
        kinds = np.array([names.index(symbol) for symbol in frame.symbols])
        shortest = np.full((len(names), len(names)), np.inf)
        np.minimum.at(shortest, (kinds[first], kinds[second]), distance)
        for i, j in zip(*np.nonzero(np.isfinite(shortest))):
            pair = (names[min(i, j)], names[max(i, j)])
            if shortest[i, j] < self.nearest.get(pair, (np.inf,))[0]:
                self.nearest[pair] = (float(shortest[i, j]), frame.place)
        return float(distance.min()) if len(distance) else float("nan")

    def column(self, name: str) -> np.ndarray:
        """Return a column as an array."""
        return np.frombuffer(self.columns[name], dtype=np.float64) if self.columns[name] else np.zeros(0)

    def where(self, row: int) -> Place:
        """Find the frame of a row."""
        return Place(self.places[self.place[row]], self.index[row])


def gather(
    paths: Sequence[Path], limits: Limits, cutoff: float, report: Callable[[int, int], None] = lambda done, total: None
) -> Statistics:
    """Gather statistics of all data at or below the paths.

    Parameters
    ----------
    paths : sequence of Path
        Folders of DeePMD npy data of either layout.
    limits : Limits
        What is suspicious.
    cutoff : float
        Distances beyond it are not looked for, Angstrom.
    report : callable, optional
        Told the number of frames done and to do.

    Raises
    ------
    DataError
        If there are no data, or files of wrong sizes.
    """
    parts = [part for system in systems(paths) for part in sets(system)]
    total = sum(map(len, parts))
    result = Statistics(Inspector(limits), cutoff)
    for part in parts:
        for frame in frames_of(part):
            result.add(frame)
            report(result.frames, total)
    return result


@dataclass(frozen=True, slots=True)
class ElementEnergies:
    r"""Energies of elements :math:`e_s` that best explain the energies per atom.

    .. math:: \min_e \sum_f \left( E_f / n_f - \sum_s e_s n_{fs} / n_f \right)^2

    Where the compositions do not determine them all, the solution of smallest norm.
    """

    energies: dict[str, float]
    """eV."""
    residual: np.ndarray
    """Energy per atom minus that of the fit, for each row of the statistics, eV."""


def fit_elements(statistics: Statistics) -> ElementEnergies:
    """Fit by least squares over all frames with an energy."""
    elements = by_element(set(statistics.elements))
    energy, composition = statistics.column("energy"), np.array(statistics.composition, dtype=np.int64)
    fractions = np.zeros((len(statistics.compositions), len(elements)))
    for counts, number in statistics.compositions.items():
        for symbol, count in counts:
            fractions[number, elements.index(symbol)] = count
    fractions /= fractions.sum(axis=1, keepdims=True)
    known = np.isfinite(energy)
    weight = np.bincount(composition[known], minlength=len(fractions))
    total = np.bincount(composition[known], weights=energy[known], minlength=len(fractions))
    root = np.sqrt(weight)[:, None]
    mean = total / np.maximum(weight, 1)
    solution = np.linalg.lstsq(root * fractions, root[:, 0] * mean, rcond=None)[0]
    return ElementEnergies(dict(zip(elements, solution.tolist())), energy - (fractions @ solution)[composition])


@dataclass(frozen=True, slots=True)
class Outlier:
    """A frame whose value is far from those of the others."""

    quantity: str
    place: Place
    value: float
    score: float
    """Distance from the median in units of the robust standard deviation."""


def outliers(quantity: str, values: np.ndarray, statistics: Statistics, threshold: float) -> list[Outlier]:
    """Find the frames further than ``threshold`` robust standard deviations from the median, the furthest first.

    The robust standard deviation is 1.4826 times the median absolute deviation, which is the standard deviation of
    normally distributed values and does not see outliers.
    """
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return []
    deviation = np.abs(values[known] - np.median(values[known]))
    scale = 1.4826 * np.median(deviation)
    if scale == 0:
        return []
    score = deviation / scale
    far = [row for row in np.argsort(-score) if score[row] > threshold]
    return [
        Outlier(quantity, statistics.where(int(known[row])), float(values[known[row]]), float(score[row]))
        for row in far
    ]
