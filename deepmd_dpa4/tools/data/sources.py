"""Frames out of files: extended XYZ, ASE databases, VASP outputs, DeePMD folders, and what dpdata reads."""

from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from deepmd_dpa4.tools.data.checks import Problem, Rejected
from deepmd_dpa4.tools.data.errors import DataError, require
from deepmd_dpa4.tools.data.frame import Place, Record
from deepmd_dpa4.tools.data.reader import frames_of, sets, system_folders, systems

# Rows of a database in memory.
ROWS = 200
# Names of files, or of folders, that tell the format; the first pattern that fits counts.
PATTERNS = (
    ("*.aselmdb", "ase/lmdb"),
    ("*.db", "ase/db"),
    ("*.traj", "ase/traj"),
    ("*OUTCAR*", "vasp/outcar"),
    ("*vasprun*.xml*", "vasp/xml"),
    ("*.extxyz*", "extxyz"),
    ("*.xyz*", "extxyz"),
)
# ASE's names of the formats that it reads one frame at a time.
ASE_FORMATS = {"ase/traj": "traj", "vasp/xml": "vasp-xml"}
EXTXYZ, OUTCAR = "extxyz", "vasp/outcar"
DATABASES = {"ase/db": "db", "ase/lmdb": "aselmdb"}
LABELS_OF_DPDATA = {"energy": "energies", "force": "forces", "virial": "virials"}
DEEPMD = ("deepmd/npy", "deepmd/npy/mixed")


def format_of(path: Path, name: str | None = None) -> str:
    """Tell the format of a file.

    Parameters
    ----------
    path : Path
        File, or folder.
    name : str, optional
        What the user says: one of ours, or a format name of dpdata.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataError
        If the name is unknown, or none is given and the file name tells nothing.
    """
    if not path.exists():
        raise FileNotFoundError(f"`SRC` is {path} but there is no such file")
    if name is not None:
        if name not in (known := formats()):
            raise DataError(f"`--format` is {name!r} but must be one of {', '.join(known)}")
        return name
    if path.is_dir() and system_folders(path):
        return DEEPMD[0]
    for pattern, found in PATTERNS:
        if fnmatch(path.name, pattern):
            return found
    raise DataError(
        f"`SRC` is {path}, whose name does not tell its format: give `--format`, one of {', '.join(formats())}"
    )


def formats() -> list[str]:
    """List the names that ``--format`` takes; without dpdata only ours."""
    ours = {EXTXYZ, OUTCAR, *ASE_FORMATS, *DATABASES, *DEEPMD}
    try:
        from dpdata.format import Format
    except ModuleNotFoundError:
        return sorted(ours)
    return sorted(ours | set(Format.get_formats()))


def records(path: Path, form: str) -> Iterator[Record | Rejected]:
    """Yield the frames of a file in its order, one at a time except for formats that dpdata reads.

    Of the steps of an OUTCAR those that are not ab initio, or that ASE cannot parse, are rejected.

    Raises
    ------
    DataError
        If the file is not of this format, or a package is missing.
    """
    if form in DEEPMD:
        yield from read_deepmd(path)
        return
    try:
        if form == EXTXYZ:
            yield from read_extxyz(path)
        elif form == OUTCAR:
            yield from read_outcar(path)
        elif form in ASE_FORMATS:
            yield from read_ase(path, ASE_FORMATS[form])
        elif form in DATABASES:
            yield from read_database(path, DATABASES[form])
        else:
            yield from read_dpdata(path, form)
    except DataError:
        raise
    # Readers of other projects raise whatever they stumble over.
    except Exception as error:
        raise DataError(f"{path} cannot be read as {form}: {type(error).__name__}: {error}") from error


def read_extxyz(path: Path) -> Iterator[Record]:
    """Read frames of extended XYZ, parsed by ASE one by one: for a whole file it first lists where all frames begin."""
    require("ase", "data", f"reading {path}")
    from ase.io.extxyz import read_xyz

    for index, text in enumerate(xyz_texts(path)):
        try:
            (atoms,) = read_xyz(StringIO(text), 0)
        except Exception as error:
            raise DataError(f"{path}, frame {index}, cannot be read: {type(error).__name__}: {error}") from error
        yield from_atoms(Place(str(path), index), atoms)


def xyz_texts(path: Path) -> Iterator[str]:
    """Yield the lines of each frame; blank lines between frames are passed over.

    Raises
    ------
    DataError
        If a frame does not begin with a number of atoms, or the file ends inside one.
    """
    from ase.io.formats import open_with_compression

    with open_with_compression(str(path), "rt") as file:
        frame = 0
        for line in file:
            if not line.strip():
                continue
            if not line.strip().isdecimal():
                raise DataError(f"{path}, frame {frame}, begins with {line.strip()!r} but must with a number of atoms")
            body = list(islice(file, int(line) + 1))
            if len(body) <= int(line):
                raise DataError(f"{path} ends inside frame {frame}, which has {int(line)} atoms")
            yield "".join([line, *body])
            frame += 1


def read_ase(path: Path, ase_format: str) -> Iterator[Record]:
    """Read the frames of a file that ASE reads."""
    require("ase", "data", f"reading {path}")
    from ase.io import iread

    # VASP's `energy` is extrapolated to zero smearing
    energy_of_forces = "free_energy" if ase_format.startswith("vasp") else None
    for index, atoms in enumerate(iread(str(path), ":", format=ase_format, do_not_split_by_at_sign=True)):
        yield from_atoms(Place(str(path), index), atoms, energy_of_forces=energy_of_forces)


def read_outcar(path: Path) -> Iterator[Record | Rejected]:
    """Read the ab initio steps of an OUTCAR; the index of a frame counts the others too."""
    require("ase", "data", f"reading {path}")
    from deepmd_dpa4.tools.data.outcar import steps

    for index, step in enumerate(steps(path)):
        place = Place(str(path), index)
        if isinstance(step, Problem):
            yield Rejected(place, step)
        else:
            yield from_atoms(place, step, energy_of_forces="free_energy")


def read_database(path: Path, kind: str) -> Iterator[Record]:
    """Read the rows of an ASE database; the index of a frame is the ``id`` of its row."""
    require("ase", "data", f"reading {path}")
    from ase.db import connect

    if kind == "aselmdb":
        require("ase_db_backends", "lmdb", f"reading {path}")
        from ase_db_backends.aselmdb import LMDBDatabase

        # read-only: a data set of others may lie where nobody can write
        database = LMDBDatabase(path, readonly=True, use_lock_file=False, serial=True)
        rows = database.select()
    else:
        rows = sqlite_rows(connect(str(path), type=kind, use_lock_file=False))
    for row in rows:
        extra_values = {**row.key_value_pairs, **{k: v for k, v in row.data.items() if isinstance(k, str)}}
        yield from_atoms(Place(str(path), row.id), row.toatoms(), extra_values)


def sqlite_rows(database: Any) -> Iterator[Any]:
    """Yield all rows by ``id``, some at a time: one selection of all would hold them in memory."""
    last = 0
    while some := list(database.select(f"id>{last}", limit=ROWS)):
        yield from some
        last = some[-1].id


def from_atoms(
    place: Place, atoms: Any, extra: dict[str, Any] | None = None, energy_of_forces: str | None = None
) -> Record:
    """Make the record of an ``ase.Atoms``: results of its calculator, then its information and arrays.

    A name that two of them give with different values is kept as ``info:NAME`` for the second. Results are taken as
    they are: ``Atoms.get_forces`` would hide forces on fixed atoms.
    """
    values = dict(atoms.calc.results) if atoms.calc is not None else {}
    arrays = {name: array for name, array in atoms.arrays.items() if name not in ("numbers", "positions")}
    for name, value in ({**atoms.info, **(extra or {})} | arrays).items():
        values[f"info:{name}" if name in values else name] = value
    return Record(
        place=place,
        symbols=tuple(atoms.get_chemical_symbols()),
        positions=np.asarray(atoms.positions, dtype=np.float64),
        cell=np.asarray(atoms.cell[:], dtype=np.float64),
        periodic=(bool(atoms.pbc[0]), bool(atoms.pbc[1]), bool(atoms.pbc[2])),
        values={name: value for name, value in values.items() if value is not None},
        energy_of_forces=energy_of_forces,
    )


def read_deepmd(path: Path) -> Iterator[Record]:
    """Read the frames of DeePMD npy folders of either layout, at or below ``path``."""
    for system in systems([path]):
        for part in sets(system):
            for number, frame in enumerate(frames_of(part), part.first):
                labels = {"energy": frame.energy, "force": frame.force, "virial": frame.virial}
                yield Record(
                    place=Place(str(system), number),
                    symbols=frame.symbols,
                    positions=frame.positions,
                    cell=np.zeros((3, 3)) if frame.cell is None else frame.cell,
                    periodic=(frame.cell is not None,) * 3,
                    values={name: value for name, value in labels.items() if value is not None},
                    conditions=frame.conditions,
                )


def read_dpdata(path: Path, form: str) -> Iterator[Record]:
    """Read the frames of a file in the order of dpdata, which holds all of it in memory and chooses the labels."""
    require("dpdata", "data", f"reading {path}")
    import dpdata
    from dpdata.format import Format
    from dpdata.system import load_format

    if type(load_format(form)).from_multi_systems is Format.from_multi_systems:
        systems = [with_labels_if_any(lambda labeled: one_system(dpdata, path, form, labeled))]
    else:
        loaded = with_labels_if_any(
            lambda labeled: dpdata.MultiSystems().load_systems_from_file(str(path), fmt=form, labeled=labeled)
        )
        systems = list(loaded.systems.values())
    index = 0
    for system in systems:
        for frame in range(system.get_nframes()):
            yield from_dpdata(Place(str(path), index), system.data, frame)
            index += 1


def one_system(dpdata: Any, path: Path, form: str, labeled: bool) -> Any:
    """Load a file that holds frames of one system."""
    return (dpdata.LabeledSystem if labeled else dpdata.System)(str(path), fmt=form)


def with_labels_if_any(load: Callable[[bool], Any]) -> Any:
    """Return what ``load`` gives with labels, or without where the format cannot hold any."""
    try:
        return load(True)
    except NotImplementedError:
        return load(False)


def from_dpdata(place: Place, data: dict[str, Any], frame: int) -> Record:
    """Make one frame of the data of a dpdata system."""
    names = np.array(data["atom_names"])
    labels = {name: data[key][frame] for name, key in LABELS_OF_DPDATA.items() if key in data}
    return Record(
        place=place,
        symbols=tuple(names[np.asarray(data["atom_types"])].tolist()),
        positions=np.asarray(data["coords"][frame], dtype=np.float64),
        cell=np.asarray(data["cells"][frame], dtype=np.float64),
        periodic=(not data.get("nopbc", False),) * 3,
        values=labels,
    )
