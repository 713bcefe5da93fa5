"""Elements and pairs of a model to test."""

import json
from collections.abc import Collection, Sequence
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np

from deepmd_dpa4.config.elements import COVALENT_RADII
from deepmd_dpa4.tools.check.instrument import Pair, Reference
from deepmd_dpa4.tools.data.errors import DataError

LISTED: tuple[Pair, ...] = tuple(
    (first, second)
    for first, second in (
        text.split("-")
        for text in (  # noqa: SIM905
            "H-H O-O N-N C-C Li-H Li-O Na-Cl K-F Mg-O Ca-O Ti-O Fe-O Cr-Cr Mo-Mo Ni-Ni Cu-Cu Ag-Ag Au-Au Al-Al Si-O "
            "Zn-S Ga-As Pb-H O-H"
        ).split()
    )
)
"""The standard survey: bonds of all kinds, each of a molecule that exists."""


def known_elements(type_map: Sequence[str], untrained: Collection[str]) -> list[str]:
    """Return the types that are chemical elements with a covalent radius and that the training data held."""
    return [name for name in type_map if name in COVALENT_RADII and name not in untrained]


def choose_pairs(elements: Sequence[str], count: int) -> list[Pair]:
    """Choose pairs of the elements: those of the standard survey, then pairs of equal atoms, then all others.

    Parameters
    ----------
    elements : sequence of str
        The most important first.
    count : int
        At most so many.
    """
    listed = [pair for pair in LISTED if set(pair) <= set(elements)]
    known = {frozenset(pair) for pair in listed}
    others = [pair for pair in combinations_with_replacement(elements, 2) if frozenset(pair) not in known]
    others.sort(key=lambda pair: pair[0] != pair[1])
    return (listed + others)[:count]


def read_references(path: Path) -> dict[Pair, Reference]:
    """Read curves of pairs: ``{"Fe-O": {"r": [...], "energy": [...]}}`` in Angstrom and eV.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataError
        If it is no such JSON.
    """
    if not path.is_file():
        raise FileNotFoundError(f"`--reference` is {path} but there is no such file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {pair_of(name): reference_of(curve) for name, curve in content.items()}
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f'`--reference` is {path} but must be JSON like {{"Fe-O": {{"r": [...], "energy": [...]}}}}: {error}'
        ) from None


def pair_of(name: str) -> Pair:
    """Split the name of a pair."""
    first, second = name.split("-")
    return first, second


def reference_of(curve: dict[str, list[float]]) -> Reference:
    """Check and convert the numbers of a curve."""
    distance, energy = (np.asarray(curve[key], dtype=np.float64) for key in ("r", "energy"))
    if distance.shape != energy.shape or distance.ndim != 1:
        raise ValueError("`r` and `energy` differ in length")
    order = np.argsort(distance)
    return Reference(distance[order], energy[order])
