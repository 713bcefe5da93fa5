"""Frames for training and for validation."""

import math
import re
import shutil
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepmd_dpa4.files import replacing
from deepmd_dpa4.tools.data.errors import DataError
from deepmd_dpa4.tools.data.frame import Record
from deepmd_dpa4.tools.data.reader import Set, sets, system_folders, systems

TRAIN, VALID = "train", "valid"


@dataclass(frozen=True, slots=True)
class Unit:
    """What stays together: frames that are alike must not lie on both sides.

    Parameters
    ----------
    kind : str
        ``frame``; ``block``, consecutive frames of a source; ``source``, a file or a system folder; ``composition``;
        ``key``, frames with the same value of a name in the file; ``each``, frames one by one, the same part of
        every value of a name.
    length : int
        Frames in a block.
    name : str
        The name of ``key`` and ``each``.
    """

    kind: str = "frame"
    length: int = 1
    name: str = ""

    @staticmethod
    def parse(text: str, option: str = "--split-by") -> "Unit":
        """Read ``frame``, ``block:N``, ``source``, ``composition``, ``key:NAME`` or ``each:NAME``.

        Raises
        ------
        DataError
            If it is none of these.
        """
        if text in ("frame", "source", "composition"):
            return Unit(text)
        if found := re.fullmatch(r"block:([1-9]\d*)", text):
            return Unit("block", length=int(found[1]))
        if found := re.fullmatch(r"(key|each):(.+)", text):
            return Unit(found[1], name=found[2])
        raise DataError(
            f"`{option}` is {text!r} but must be frame, block:N, source, composition, key:NAME or each:NAME"
        )

    def __str__(self) -> str:
        rest = self.name or (str(self.length) if self.kind == "block" else "")
        return f"{self.kind}:{rest}" if rest else self.kind

    def of_record(self, record: Record) -> Hashable:
        """Name the unit that a frame of a file belongs to.

        Raises
        ------
        DataError
            If the frame lacks the value that the unit asks for.
        """
        if self.name:
            if self.name not in record.values:
                raise DataError(f"`--split-by` is {self} but {record.place} has no value {self.name!r}")
            value = str(record.values[self.name])
            return value if self.kind == "key" else Member(value, record.place.source, record.place.index)
        return self.of(record.place.source, record.place.index, record.symbols)

    def of(self, source: str, index: int, symbols: tuple[str, ...]) -> Hashable:
        """Name the unit of a frame by its source, its place in it and its atoms."""
        if self.kind == "source":
            return source
        if self.kind == "composition":
            return tuple(sorted(symbols))
        return source, index // self.length


class Member(NamedTuple):
    """A frame of a group that is divided for itself."""

    group: str
    source: str
    frame: int


@dataclass
class Splitter:
    """Chooses units for validation as they come: one at random out of every ``1 / fraction``, in each group.

    Parameters
    ----------
    fraction : float
        Part of the units, above 0 and up to 0.5.
    unit : Unit
        What stays together.
    seed : int
        Of the choice, which depends on nothing else than the order of the units.
    """

    fraction: float
    unit: Unit = field(default_factory=Unit)
    seed: int = 1
    chosen: dict[Hashable, bool] = field(default_factory=dict, init=False)
    sizes: Counter[str] = field(default_factory=Counter, init=False)
    """Units in each group so far."""
    frames: dict[str, int] = field(default_factory=lambda: {TRAIN: 0, VALID: 0}, init=False)

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 0.5:
            raise DataError(f"`--valid-fraction` is {self.fraction:g} but must be above 0 and at most 0.5")

    def side(self, unit: Hashable) -> str:
        """Tell where a frame of a unit goes, and count it."""
        if unit not in self.chosen:
            group = unit.group if isinstance(unit, Member) else ""
            self.chosen[unit] = self._choose(self.sizes[group])
            self.sizes[group] += 1
        side = VALID if self.chosen[unit] else TRAIN
        self.frames[side] += 1
        return side

    def _choose(self, number: int) -> bool:
        window = math.floor(number * self.fraction)
        first, last = math.ceil(window / self.fraction), math.ceil((window + 1) / self.fraction)
        return number == np.random.default_rng((self.seed, window)).integers(first, last)

    def check(self) -> None:
        """Refuse a split without frames on one of its sides.

        Raises
        ------
        DataError
            With the number of units.
        """
        if not all(self.frames.values()):
            empty = next(side for side, frames in self.frames.items() if not frames)
            raise DataError(
                f"`--split-by {self.unit}` makes {len(self.chosen)} units of these data, and none of them is for "
                f"{empty}: give another `--valid-fraction` (now {self.fraction:g}), `--seed` or `--split-by`"
            )


def split(paths: Iterable[Path], output: Path, splitter: Splitter) -> None:
    """Copy DeePMD npy folders to ``output/train`` and ``output/valid``, with every array that has a row for a frame.

    Parameters
    ----------
    paths : iterable of Path
        Folders of data, at any depth; their systems keep their names below them.
    output : Path
        A folder that does not exist; it appears when everything is written.
    splitter : Splitter
        Which frames go where.

    Raises
    ------
    DataError
        If the output exists or lies in one of the folders, two systems have the same name, or a side would be empty.
    """
    paths = list(paths)
    if output.exists():
        raise DataError(f"`--output` is {output} but it exists already: remove it or give another name")
    around = next((path for path in paths if output.resolve().is_relative_to(path.resolve())), None)
    if around is not None:
        raise DataError(
            f"`--output` is {output}, inside of {around}, which is split: what is found there later would hold every "
            "frame twice; give a name outside"
        )
    if splitter.unit.name:
        raise DataError(
            f"`--split-by` is {splitter.unit} but DeePMD folders name no values: give it to `dpa4 data convert`"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as partial:
        partial.mkdir()
        for system, name in named(paths):
            for part in sets(system):
                rows = chosen_rows(part, system, splitter)
                for side, numbers in rows.items():
                    if numbers:
                        copy(part, system, partial / side / name, numbers)
        splitter.check()


def named(paths: list[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield all systems with the names that they get.

    Raises
    ------
    DataError
        If two are the same.
    """
    found: dict[Path, Path] = {}
    systems(paths)  # each path must have some
    for path in paths:
        for system in system_folders(path):
            below = system.relative_to(path)
            name = Path(system.resolve().name) if below == Path() else below
            name = Path(path.resolve().name) / name if len(paths) > 1 and below != Path() else name
            if found.setdefault(name, system) != system:
                raise DataError(f"`DATA` has two systems {name}, {found[name]} and {system}: split them one by one")
            yield system, name


def chosen_rows(part: Set, system: Path, splitter: Splitter) -> dict[str, list[int]]:
    """List the frames of a set for either side."""
    names = np.array(part.type_map)
    rows: dict[str, list[int]] = {TRAIN: [], VALID: []}
    for row in range(len(part)):
        types = part.types[row]
        unit = splitter.unit.of(str(system), part.first + row, tuple(names[types[types >= 0]].tolist()))
        rows[splitter.side(unit)].append(row)
    return rows


def copy(part: Set, system: Path, target: Path, rows: list[int]) -> None:
    """Write some frames of a set, and once the files that belong to the whole system."""
    if not target.exists():
        target.mkdir(parents=True)
        for file in system.iterdir():
            if file.is_file():
                shutil.copyfile(file, target / file.name)
    folder = target / part.path.name
    folder.mkdir()
    for file in sorted(part.path.glob("*.npy")):
        array = np.load(file, mmap_mode="r")
        if array.size % len(part):
            raise DataError(f"{file} has {array.size} values but {len(part)} frames")
        np.save(folder / file.name, array.reshape(len(part), -1)[rows])
