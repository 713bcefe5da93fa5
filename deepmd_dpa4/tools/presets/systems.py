"""What an input has to know of data in DeePMD-kit's ``npy`` format: elements, frames, labels, format."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deepmd_dpa4.config.elements import ELEMENTS
from deepmd_dpa4.tools.data.reader import Set, is_mixed, sets, system_folders

LABELS = ("energy", "force", "virial")
CHARGE_SPIN = "charge_spin"


@dataclass(frozen=True)
class Contents:
    """What some systems hold together."""

    elements: frozenset[str]
    """Those of atoms."""
    names: frozenset[str]
    """All in files ``type_map.raw``, also those that no atom has: DeePMD-kit asks for each of them."""
    systems: frozenset[Path]
    """Their folders, links followed."""
    mixed: frozenset[Path]
    """Those of mixed type."""
    frames: int
    labels: frozenset[str]
    """What any frame has of ``energy``, ``force``, ``virial`` and ``charge_spin``."""
    atoms: int
    """In all frames together."""

    @staticmethod
    def of(parts: Iterable["Contents"]) -> "Contents":
        """Sum several contents, at least one."""
        parts = list(parts)
        return Contents(
            frozenset().union(*(part.elements for part in parts)),
            frozenset().union(*(part.names for part in parts)),
            frozenset().union(*(part.systems for part in parts)),
            frozenset().union(*(part.mixed for part in parts)),
            sum(part.frames for part in parts),
            frozenset().union(*(part.labels for part in parts)),
            sum(part.atoms for part in parts),
        )


def read(folder: Path, type_map: tuple[str, ...] | None = None, option: str = "--data") -> Contents:
    """Look through a folder and all below it, as DeePMD-kit does.

    Parameters
    ----------
    folder : Path
        A system, that is a folder with ``type.raw``, or a folder with systems somewhere below; standard or mixed type.
    type_map : tuple of str, optional
        Names of the types of systems without a ``type_map.raw``.
    option : str
        Option that named the folder, for errors.

    Raises
    ------
    ValueError
        If there is no system, a file is missing, or a type has no name.
    """
    try:
        return Contents.of(_system(path, type_map) for path in _found(folder))
    except ValueError as error:
        raise ValueError(f"`{option}` is {folder} but {error}") from None


def in_order(elements: Iterable[str]) -> tuple[str, ...]:
    """Sort elements by atomic number, then other names by the alphabet."""
    rank = {symbol: number for number, symbol in enumerate(ELEMENTS)}
    return tuple(sorted(elements, key=lambda name: (rank.get(name, len(rank)), name)))


def _found(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(
            "must be a folder with DeePMD-kit systems in npy format; other kinds of data are named by "
            "`--set training.training_data.systems=...`, together with `--type-map`"
        )
    found = system_folders(folder)
    if not found:
        raise ValueError("there is no file type.raw, in it or below")
    return found


def _system(system: Path, type_map: tuple[str, ...] | None) -> Contents:
    path = system / "type_map.raw"
    if path.exists():
        type_map = None
    elif type_map is None:
        raise ValueError(f"{path} is missing: the names of its types can be given by `--type-map`")
    parts = (
        _set(part, type_map or part.type_map, frozenset(() if type_map else part.type_map)) for part in sets(system)
    )
    places = frozenset({system.resolve()})
    return replace(Contents.of(parts), systems=places, mixed=places if is_mixed(system) else frozenset())


def _set(part: Set, names: tuple[str, ...], named: frozenset[str]) -> Contents:
    used = [int(index) for index in np.unique(part.types) if index >= 0]
    if used and used[-1] >= len(names):
        raise ValueError(f"{part.path} has atoms of type {used[-1]}, and `--type-map` {len(names)} names")
    elements = frozenset(names[index] for index in used)
    atoms = int(np.count_nonzero(part.types >= 0))
    labels = {name for name in LABELS if getattr(part, name) is not None} | part.conditions.keys() & {CHARGE_SPIN}
    return Contents(elements, elements | named, frozenset(), frozenset(), len(part), frozenset(labels), atoms)
