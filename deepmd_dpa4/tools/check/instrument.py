"""What an instrument is given and what it returns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike

from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.inference.structure import Structure

Pair = tuple[str, str]


class Verdict(str, Enum):
    """What came out of an instrument."""

    PASS = "pass"
    FAIL = "fail"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """Points of a plot; those with a name are in its legend."""

    name: str
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Plot:
    """One panel of the page."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    x_scale: str = "linear"
    """A scale of matplotlib; ``symlog`` is linear within 1."""
    y_scale: str = "linear"
    points: bool = False
    """Draw the first line as points."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an instrument found."""

    verdict: Verdict
    numbers: Mapping[str, float]
    """By name and unit."""
    found: tuple[str, ...] = ()
    """Sentences, the worst first."""
    plots: tuple[Plot, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A structure to test on."""

    name: str
    structure: Structure
    forces: np.ndarray | None = None
    """Labels in eV/Angstrom, (n, 3)."""
    calm: bool = True
    """Near a minimum of the energy, so that dynamics can start here."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Curve of a pair that somebody computed: distances in Angstrom, energies in eV."""

    distance: np.ndarray
    energy: np.ndarray


@dataclass(frozen=True, slots=True)
class Context:
    """What instruments are run on.

    Parameters
    ----------
    elements : sequence of str
        Chemical elements of the model that it was trained on.
    pairs : sequence of pairs of str
        Pairs of them to survey.
    samples : sequence of Sample
        Structures, of the data or generated.
    labelled : sequence of Sample
        Those of the data that have forces.
    references : mapping
        Curves to draw beside those of the model.
    seed : int
        Of all random numbers.
    steps : int
        Of molecular dynamics.
    temperatures : sequence of float
        At which molecular dynamics start, K.
    charge_spin : sequence of float, optional
        Charge and spin multiplicity of structures that are made here.
    progress : callable
        Told the parts done and to do.
    """

    elements: Sequence[str]
    pairs: Sequence[Pair]
    samples: Sequence[Sample]
    labelled: Sequence[Sample] = ()
    references: Mapping[Pair, Reference] = field(default_factory=dict)
    seed: int = 0
    steps: int = 500
    temperatures: Sequence[float] = (300.0, 2000.0)
    charge_spin: Sequence[float] | None = None
    progress: Callable[[int, int], None] = lambda done, total: None

    def structure(self, symbols: Sequence[str], positions: ArrayLike) -> Structure:
        """Make isolated atoms at ``positions`` (n, 3) in Angstrom, with the conditions that the model asks for."""
        return Structure(symbols, positions, charge_spin=self.charge_spin)

    def some(self, count: int, atoms: int) -> list[Sample]:
        """Take at most ``count`` samples, evenly spaced, with together at most ``atoms`` atoms; one at least."""
        if not self.samples:
            return []
        spaced = np.unique(np.linspace(0, len(self.samples) - 1, min(count, len(self.samples))).round().astype(int))
        taken: list[Sample] = []
        for index in spaced:
            sample = self.samples[index]
            atoms -= len(sample.structure.symbols)
            if taken and atoms < 0:
                atoms += len(sample.structure.symbols)
                continue
            taken.append(sample)
        return taken


class Instrument(Protocol):
    """A test of a potential."""

    name: ClassVar[str]
    """One word, for options and files."""
    sound: ClassVar[str]
    """What a sound potential does, for the table."""

    def run(self, evaluator: Evaluator, context: Context) -> Outcome:
        """Test the model of ``evaluator``."""
        ...


def judge(failures: Sequence[str], numbers: Mapping[str, float], plots: Sequence[Plot] = ()) -> Outcome:
    """Make an outcome that passes if there are no failures."""
    return Outcome(Verdict.FAIL if failures else Verdict.PASS, numbers, tuple(failures), tuple(plots))


def not_run(reason: str) -> Outcome:
    """Make the outcome of an instrument that lacks something."""
    return Outcome(Verdict.NOT_RUN, {}, (reason,))


def exceeds(value: float, limit: float) -> bool:
    """Tell whether a value is above a limit or not a number."""
    return not value <= limit


def moved(structure: Structure, shift: np.ndarray) -> Structure:
    """Return the structure with atoms moved by ``shift`` (n, 3) in Angstrom, those alone where it is finite."""
    return replace(structure, positions=np.asarray(structure.positions) + np.where(np.isfinite(shift), shift, 0.0))


def largest_force(forces: np.ndarray) -> float:
    """Return the largest length of a row of ``forces`` (n, 3); infinity if one is not a number."""
    lengths = np.linalg.norm(forces, axis=1)
    return float(lengths.max(initial=0.0)) if np.isfinite(lengths).all() else float("inf")


def rounding(evaluator: Evaluator) -> float:
    """Return the relative error that the arithmetic of the model's file may make.

    A thousand roundings: 6e-5 in single, 1e-13 in double precision, of which 1e-10 is asked for because tables and
    quadratures of other models do not reach it.
    """
    precision = evaluator.precision
    if precision in ("float64", "double", "default"):
        return 1e-10
    return 6e-5 if precision in ("float32", "single") else 1e-2
