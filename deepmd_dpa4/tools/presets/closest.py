"""The closest pair of atoms in the data, measured by covalent radii."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deepmd_dpa4.config.elements import COVALENT_RADII
from deepmd_dpa4.tools.data.checks import pairs_within
from deepmd_dpa4.tools.data.frame import Frame, Place
from deepmd_dpa4.tools.data.reader import Set, frame_of, sets, systems

FRAMES = 200
"""Frames of a set that are looked at, evenly spaced."""


@dataclass(frozen=True)
class Closest:
    """Two atoms: their distance in Angstrom and in sums of covalent radii, their elements, and where they are."""

    fraction: float
    distance: float
    pair: tuple[str, str]
    place: Place


def closest_pair(folders: Iterable[Path], type_map: tuple[str, ...] | None, within: float) -> Closest | None:
    """Find the closest pair of the data at or below some folders.

    Parameters
    ----------
    folders : iterable of Path
        Data in DeePMD-kit's npy format.
    type_map : tuple of str, optional
        Names of the types of systems without a ``type_map.raw``.
    within : float
        Largest distance that is looked for, in sums of covalent radii.

    Returns
    -------
    Closest or None
        None if no pair of elements with covalent radii is that close in the frames that are looked at.
    """
    found = [
        pair
        for system in systems(folders)
        for part in sets(system)
        for frame in _some_frames(_named(part, system, type_map))
        if (pair := _of_frame(frame, within)) is not None
    ]
    return min(found, key=lambda pair: pair.fraction, default=None)


def _named(part: Set, system: Path, type_map: tuple[str, ...] | None) -> Set:
    if type_map is None or (system / "type_map.raw").exists():
        return part
    return replace(part, type_map=type_map)


def _some_frames(part: Set) -> Iterable[Frame]:
    wanted = np.unique(np.linspace(0, len(part) - 1, min(len(part), FRAMES)).round().astype(int))
    return (frame_of(part, int(index)) for index in wanted)


def _of_frame(frame: Frame, within: float) -> Closest | None:
    radii = np.array([COVALENT_RADII.get(symbol, 0.0) for symbol in frame.symbols])
    if not radii.any():
        return None
    first, second, distance = pairs_within(frame, 2 * within * float(radii.max()))
    known = (radii[first] > 0) & (radii[second] > 0)
    first, second, distance = first[known], second[known], distance[known]
    fraction = distance / (radii[first] + radii[second])
    if not len(fraction) or fraction.min() > within:
        return None
    index = int(fraction.argmin())
    pair = (frame.symbols[first[index]], frame.symbols[second[index]])
    return Closest(float(fraction[index]), float(distance[index]), pair, frame.place)
