"""What is wrong with a single frame."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from scipy.spatial import cKDTree
from vesin import NeighborList

from deepmd_dpa4.tools.data.deduplicate import Seen, fingerprint
from deepmd_dpa4.tools.data.frame import STRUCTURE, Frame, Place
from deepmd_dpa4.tools.data.limits import Limits

# Angstrom^3; the densest matter on Earth has 5 for an atom.
SMALLEST_VOLUME = 1e-3


class Kind(Enum):
    """Kinds of problems. Frames with one of the first six cannot be trained on."""

    UNREADABLE = "step that cannot be read"
    LEARNED = "step of a machine-learned force field"
    NO_LABELS = "neither energy nor forces"
    NOT_FINITE = "values that are not finite"
    NO_VOLUME = "cell without a volume"
    NO_ATOMS = "no atoms"
    NO_ENERGY = "no energy"
    NO_FORCES = "no forces"
    LABELS_NOT_FINITE = "labels that are not finite"
    TOO_CLOSE = "atoms too close"
    LARGE_FORCE = "absurd force"
    DUPLICATE = "structure seen before"

    @property
    def fatal(self) -> bool:
        """Whether frames with it are never written."""
        return self in tuple(Kind)[:6]

    @property
    def bad(self) -> bool:
        """Whether ``--drop-bad`` leaves out frames with it; missing labels do not make the others bad."""
        return self not in (Kind.NO_ENERGY, Kind.NO_FORCES, Kind.LABELS_NOT_FINITE)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing found in one frame."""

    kind: Kind
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A frame that its reader makes no record of."""

    place: Place
    problem: Problem


@dataclass
class Inspector:
    """Checks frames one by one; it remembers the structures it has seen."""

    limits: Limits
    seen: Seen = field(default_factory=Seen)

    def problems(self, frame: Frame) -> list[Problem]:
        """List everything that is wrong with a frame."""
        return list(broken(frame)) or [*self.suspicious(frame)]

    def suspicious(self, frame: Frame) -> Iterator[Problem]:
        """Yield the problems of frames whose values can be computed with."""
        lost = frame.not_finite()
        if lost:
            yield Problem(Kind.LABELS_NOT_FINITE, ", ".join(lost))
        if frame.energy is None:
            yield Problem(Kind.NO_ENERGY)
        if frame.force is None:
            yield Problem(Kind.NO_FORCES)
        elif "force" not in lost and np.abs(frame.force).max() > self.limits.max_force:
            atom, axis = divmod(int(np.abs(frame.force).argmax()), 3)
            yield Problem(
                Kind.LARGE_FORCE, f"{frame.force[atom, axis]:.3f} eV/A on atom {atom} ({frame.symbols[atom]})"
            )
        first, second, distance = pairs_within(frame, self.limits.min_distance)
        if len(distance):
            near = int(distance.argmin())
            i, j = int(first[near]), int(second[near])
            yield Problem(
                Kind.TOO_CLOSE,
                f"{distance[near]:.4f} A between atoms {i} ({frame.symbols[i]}) and {j} ({frame.symbols[j]})",
            )
        if self.seen.add(fingerprint(frame)):
            yield Problem(Kind.DUPLICATE)


def broken(frame: Frame) -> Iterator[Problem]:
    """Yield the reasons why a frame cannot be trained on."""
    if not frame.symbols:
        yield Problem(Kind.NO_ATOMS)
    if frame.energy is None and frame.force is None:
        yield Problem(Kind.NO_LABELS)
    wrong, labelled = frame.not_finite(), frame.with_finite_labels()
    if labelled.energy is not None or labelled.force is not None:
        # what is left can be trained on without the other labels
        wrong = tuple(name for name in wrong if name in STRUCTURE)
    if wrong:
        yield Problem(Kind.NOT_FINITE, ", ".join(wrong))
    elif frame.volume < SMALLEST_VOLUME * len(frame.symbols):
        yield Problem(Kind.NO_VOLUME, f"{frame.volume:.3g} A^3")


def pairs_within(frame: Frame, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find pairs closer than ``cutoff`` (Angstrom), each once: first atom, second atom, distance."""
    if frame.cell is None:
        # vesin ends the process where an atom of an open frame is 1e5 Angstrom away
        first, second = cKDTree(frame.positions).query_pairs(cutoff, output_type="ndarray").T
        return first, second, np.linalg.norm(frame.positions[second] - frame.positions[first], axis=1)
    search = NeighborList(cutoff=cutoff, full_list=False)
    first, second, distance = search.compute(frame.positions, frame.cell, True, quantities="ijd")
    return first, second, distance
