"""DeePMD npy folders of either layout, read one set at a time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deepmd_dpa4.tools.data.errors import DataError
from deepmd_dpa4.tools.data.frame import Frame, Place


@dataclass(frozen=True, slots=True)
class Set:
    """The frames of one ``set.NNN`` folder; arrays are read from the disk when they are used."""

    path: Path
    type_map: tuple[str, ...]
    types: np.ndarray
    """(frames, atoms); negative = no atom."""
    coord: np.ndarray
    """(frames, atoms, 3), Angstrom."""
    cell: np.ndarray | None
    """(frames, 3, 3), Angstrom."""
    energy: np.ndarray | None
    """(frames,), eV."""
    force: np.ndarray | None
    """(frames, atoms, 3), eV/Angstrom."""
    virial: np.ndarray | None
    """(frames, 3, 3), eV."""
    conditions: dict[str, np.ndarray]
    """What some models ask for besides: ``fparam`` (frames, k), ``aparam`` (frames, atoms, k), ``charge_spin``."""
    first: int = 0
    """Number of its first frame in the system."""

    def __len__(self) -> int:
        return len(self.coord)


def systems(paths: Iterable[Path]) -> list[Path]:
    """Find the folders with a ``type.raw``, at or below the given ones, in alphabetic order.

    Raises
    ------
    DataError
        If there is none below one of the paths, or as :func:`system_folders`.
    """
    found: dict[Path, None] = {}
    for path in paths:
        below = system_folders(path)
        if not below:
            raise DataError(
                f"`DATA` is {path} but must be a folder of DeePMD data, with a file type.raw at or below it"
            )
        found.update(dict.fromkeys(below))
    return list(found)


def system_folders(path: Path) -> list[Path]:
    """Find the systems at or below a folder that DeePMD-kit finds there, links to systems among them.

    Raises
    ------
    DataError
        If a link leads to a folder with more systems below it, into which DeePMD-kit does not look.
    """
    # `rglob("type.raw")` would not enter links; each entry has to be asked, as DeePMD-kit does
    entries = [path, *path.rglob("*")]
    found = sorted(entry for entry in entries if is_system(entry))
    known = {system.resolve() for system in found}
    for link in sorted(entry for entry in entries[1:] if entry.is_symlink() and entry.is_dir()):
        hidden = [entry for entry in link.rglob("*") if is_system(entry) and entry.resolve() not in known]
        if hidden:
            raise DataError(
                f"{link} is a link to a folder with systems below it, such as {hidden[0]}, which DeePMD-kit does not "
                "find through a link: name that folder too, or link each system"
            )
    return found


def is_system(folder: Path) -> bool:
    """Tell whether a folder holds the ``type.raw`` of a system."""
    return (folder / "type.raw").is_file()


def is_mixed(system: Path) -> bool:
    """Tell whether a system is of mixed type: each frame has types of its own."""
    return any(part.is_file() for part in system.glob("set.*/real_atom_types.npy"))


def sets(system: Path) -> Iterator[Set]:
    """Read the sets of one system folder.

    Raises
    ------
    DataError
        If there is none, or a file in it has the wrong size.
    """
    folders = sorted(path for path in system.glob("set.*") if path.is_dir())
    if not folders:
        raise DataError(f"{system} has no folder set.*")
    types = read_types(system / "type.raw", mixed=is_mixed(system))
    names = type_names(system, types)
    first = 0
    for folder in folders:
        part = one_set(folder, types, names, periodic=not (system / "nopbc").exists())
        yield replace(part, first=first)
        first += len(part)


def read_types(file: Path, mixed: bool) -> np.ndarray:
    """Read the types of the atoms of a system; those of the mixed format stand in another file."""
    if not file.read_text(encoding="utf-8").strip():
        raise DataError(f"{file} is empty but must hold the type of each atom")
    try:
        types = np.loadtxt(file, dtype=np.int64, ndmin=1)
    except ValueError as error:
        raise DataError(f"{file} is not a list of integers: {error}") from None
    if types.min() < 0 and not mixed:
        raise DataError(f"{file} has type {types.min()} but types count from 0; -1 is for real_atom_types.npy only")
    return types


def type_names(system: Path, types: np.ndarray) -> tuple[str, ...]:
    """Read the names in ``type_map.raw``; ``Type_0`` and so on without it."""
    path = system / "type_map.raw"
    if not path.exists():
        return tuple(f"Type_{index}" for index in range(int(types.max()) + 1))
    names = tuple(path.read_text(encoding="utf-8").split())
    if types.max() >= len(names):
        raise DataError(f"{system / 'type.raw'} has type {types.max()} but {path} names only {len(names)} types")
    return names


def one_set(folder: Path, types: np.ndarray, names: tuple[str, ...], periodic: bool) -> Set:
    """Read one set, with the shapes of its files checked."""
    atoms = len(types)
    coord = load(folder, "coord", (atoms, 3))
    if coord is None:
        raise DataError(f"{folder} has no coord.npy")
    frames = len(coord)
    real = load(folder, "real_atom_types", (atoms,), frames)
    if real is not None and real.size and real.max() >= len(names):
        raise DataError(f"{folder / 'real_atom_types.npy'} has type {real.max()} but there are only {len(names)} types")
    cell = load(folder, "box", (3, 3), frames) if periodic else None
    if periodic and cell is None:
        raise DataError(f"{folder} has no box.npy and {folder.parent} no file nopbc")
    shapes: dict[str, tuple[int, ...]] = {"fparam": (-1,), "charge_spin": (2,), "aparam": (atoms, -1)}
    conditions = {name: load(folder, name, shape, frames) for name, shape in shapes.items()}
    return Set(
        path=folder,
        type_map=names,
        types=np.broadcast_to(types, (frames, atoms)) if real is None else real.astype(np.int64),
        coord=coord,
        cell=cell,
        energy=load(folder, "energy", (), frames),
        force=load(folder, "force", (atoms, 3), frames),
        virial=load(folder, "virial", (3, 3), frames),
        conditions={name: array for name, array in conditions.items() if array is not None},
    )


def load(folder: Path, name: str, shape: tuple[int, ...], frames: int | None = None) -> np.ndarray | None:
    """Map a file into memory as (frames, *shape); ``None`` if it does not exist. A size of -1 may be anything."""
    path = folder / f"{name}.npy"
    if not path.exists():
        return None
    try:
        array = np.load(path, mmap_mode="r")
    except (ValueError, EOFError) as error:
        raise DataError(f"{path} is not an array: {error}") from None
    if array.dtype.kind not in "biuf":
        raise DataError(f"{path} holds values of type {array.dtype} but must hold numbers")
    per_frame = abs(int(np.prod(shape)))
    count = frames if frames is not None else array.size // max(per_frame, 1)
    free = -1 in shape
    if array.size % max(count * per_frame, 1) if free else array.size != count * per_frame:
        multiple = "a multiple of " if free else ""
        raise DataError(f"{path} has {array.size} values but must have {count} frames of {multiple}{per_frame}")
    return array.reshape(count, *shape)


def frame_of(part: Set, index: int) -> Frame:
    """Make a frame of a set, without the atoms of negative type."""
    there = part.types[index] >= 0
    names = np.array(part.type_map)
    return Frame(
        place=Place(str(part.path), index),
        symbols=tuple(names[part.types[index][there]].tolist()),
        positions=np.array(part.coord[index][there], dtype=np.float64),
        cell=None if part.cell is None else np.array(part.cell[index], dtype=np.float64),
        energy=None if part.energy is None else float(part.energy[index]),
        force=None if part.force is None else np.array(part.force[index][there], dtype=np.float64),
        virial=None if part.virial is None else np.array(part.virial[index], dtype=np.float64),
        conditions={
            name: np.array(array[index][there] if name == "aparam" else array[index], dtype=np.float64)
            for name, array in part.conditions.items()
        },
    )


def frames_of(part: Set) -> Iterator[Frame]:
    """Yield the frames of a set."""
    return (frame_of(part, index) for index in range(len(part)))


def frames_at(paths: Iterable[Path]) -> Iterator[Frame]:
    """Yield the frames of all systems at or below the paths."""
    for system in systems(paths):
        for part in sets(system):
            yield from frames_of(part)
