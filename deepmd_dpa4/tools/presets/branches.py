"""Data of the command line, sorted by branch, and what they ask of an input."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from deepmd_dpa4.config.elements import ELEMENTS
from deepmd_dpa4.tools.presets.closest import Closest, closest_pair
from deepmd_dpa4.tools.presets.document import Branch
from deepmd_dpa4.tools.presets.robust import OUTER
from deepmd_dpa4.tools.presets.systems import Contents, in_order, read

Folders = dict[str, tuple[str, ...]]
SINGLE = ""
"""Name of the branch of a model that has only one."""
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def grouped(words: Sequence[str], option: str, multi: bool) -> Folders:
    """Group the folders of each branch, from words ``NAME=DIR``, or of the only branch.

    Raises
    ------
    ValueError
        If a word has no name, or one that DeePMD-kit cannot take.
    """
    if not multi:
        return {SINGLE: tuple(words)} if words else {}
    found: Folders = {}
    for word in words:
        name, sign, folder = word.partition("=")
        if not sign or not folder or not NAME.fullmatch(name) or name == "RANDOM":
            raise ValueError(
                f"`{option}` is {word!r} but `--task multitask` needs NAME=DIR, NAME of letters, digits, _ and -, and "
                "other than RANDOM"
            )
        found[name] = (*found.get(name, ()), folder)
    return found


def branches_of(training: Folders, validation: Folders, contents: Mapping[str, Contents]) -> dict[str, Branch]:
    """Make the branches, each with its data.

    Raises
    ------
    ValueError
        If there are validation data for a branch without training data.
    """
    for name in validation:
        if name not in training:
            raise ValueError(f"`--validation` names the branch {name!r} but `--data` has {', '.join(training)}")
    return {
        name: Branch(training=folders, validation=validation.get(name, ()), virial="virial" in contents[name].labels)
        for name, folders in training.items()
    }


def contents_of(folders: Folders, type_map: tuple[str, ...] | None, option: str) -> dict[str, Contents]:
    """Read what the folders of each branch hold.

    Raises
    ------
    ValueError
        As :func:`deepmd_dpa4.tools.presets.systems.read`, or if some systems are of mixed type and others are not.
    """
    found = {
        name: Contents.of(read(Path(place), type_map, option) for place in places) for name, places in folders.items()
    }
    for contents in found.values():
        standard = contents.systems - contents.mixed
        if standard and contents.mixed:
            raise ValueError(
                f"`{option}` has {min(contents.mixed)} of mixed type and {min(standard)} of the standard format, but "
                "DeePMD-kit trains on systems of one format: `dpa4 data convert --mixed` writes all as mixed type"
            )
    return found


def shared_systems(training: Mapping[str, Contents], validation: Mapping[str, Contents]) -> list[Path]:
    """List the systems that a branch both trains on and validates with."""
    return sorted(path for name, part in validation.items() for path in part.systems & training[name].systems)


def closest_of(folders: Folders, type_map: tuple[str, ...] | None) -> Closest | None:
    """Find the closest pair of all branches that is too close for zone bridging as it is otherwise."""
    places = [Path(place) for group in folders.values() for place in group]
    return closest_pair(places, type_map, OUTER / 0.99) if places else None


def named_types(words: Sequence[str] | None) -> tuple[str, ...] | None:
    """Read the type map of the option ``--type-map``, where ``all`` stands for the 118 elements.

    Raises
    ------
    ValueError
        If a name is there twice.
    """
    if words is None:
        return None
    names = tuple(ELEMENTS) if list(words) == ["all"] else tuple(words)
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"`--type-map` has {name!r} twice")
    return names


def unused_types(contents: Mapping[str, Mapping[str, Contents]]) -> tuple[str, ...]:
    """List the names in files ``type_map.raw`` that no atom of any data has."""
    parts = [part for branches in contents.values() for part in branches.values()]
    return in_order(set().union(*(part.names for part in parts)) - set().union(*(part.elements for part in parts)))


def types_of(given: tuple[str, ...] | None, contents: Mapping[str, Mapping[str, Contents]]) -> tuple[str, ...]:
    """Return the type map that was given, or one of all names in the data.

    ``contents`` is sorted by the option that named the data, and by branch.

    Raises
    ------
    ValueError
        If there is neither a type map nor data, or the type map lacks an element that the data hold or name.
    """
    held = {option: set().union(*(part.elements for part in parts.values())) for option, parts in contents.items()}
    named = {option: set().union(*(part.names for part in parts.values())) for option, parts in contents.items()}
    if given is None:
        elements = in_order(set().union(*named.values()))
        if not elements:
            raise ValueError("`--type-map` is missing: give the elements, or data by `--data`")
        return elements
    for option, elements_held in held.items():
        missing = in_order(elements_held - set(given))
        if missing:
            raise ValueError(f"`--type-map` is {' '.join(given)!r} but `{option}` holds {' '.join(missing)} too")
        missing = in_order(named[option] - set(given))
        if missing:
            raise ValueError(
                f"`--type-map` is {' '.join(given)!r} but must also have {' '.join(missing)}, which no atom of "
                f"`{option}` has but a type_map.raw names: DeePMD-kit asks for every name there"
            )
    return given
