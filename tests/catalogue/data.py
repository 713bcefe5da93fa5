"""Mistakes in data: folders of a training, and files that ``dpa4 data`` reads."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase.io import write as write_atoms

from deepmd_dpa4.host.training_data import check_training
from tests.catalogue.case import Case, Kind, command
from tests.catalogue.desk import Desk, array, changed
from tests.support import inputs
from tests.support.structures import crystals

Harm = Callable[[Path], Any]


def train(content: dict[str, Any]) -> None:
    """Check the data of a training as ``dp --pt train`` does before it reads them."""
    check_training(content)


def harmed(given: str, harm: Harm, remedy: str, *says: str) -> Case:
    """A folder ``data`` of six atoms and three frames, with a fault."""

    def call(desk: Desk) -> None:
        desk.data(harm=harm)
        train({"model": inputs.model()} | inputs.training(Path("data")))

    return Case(given, call, says, remedy)


def with_input(given: str, path: str, value: Any, remedy: str, *says: str) -> Case:
    """A sound folder ``data`` that does not fit the input."""

    def call(desk: Desk) -> None:
        Path("empty").mkdir()
        desk.data()
        train(changed({"model": inputs.model()} | inputs.training(Path("data")), path, value))

    return Case(given, call, says, remedy)


def value(position: tuple[int, ...], number: float) -> Callable[[np.ndarray], np.ndarray]:
    """Change one number of an array."""

    def change(values: np.ndarray) -> np.ndarray:
        values[position] = number
        return values

    return change


def text(name: str, content: str) -> Harm:
    """Write a file of the folder."""
    return lambda folder: (folder / name).write_text(content)


def without(name: str) -> Harm:
    """Remove a file of the folder."""
    return lambda folder: (folder / name).unlink()


def cut(folder: Path) -> None:
    """Cut the forces."""
    file = folder / "set.000" / "force.npy"
    file.write_bytes(file.read_bytes()[:-8])


def mixed(types: list[int]) -> Harm:
    """Turn the folder into one of the mixed format."""

    def harm(folder: Path) -> None:
        frames = len(np.load(folder / "set.000" / "energy.npy"))
        (folder / "type.raw").write_text("0\n" * 6)
        np.save(folder / "set.000" / "real_atom_types.npy", np.array([types] * frames))

    return harm


E, F, V, C, B = (f"data/set.000/{name}.npy" for name in ("energy", "force", "virial", "coord", "box"))
AGAIN = "Write the array again with `numpy.save`, of numbers."
FRAME = "Remove the frame from all arrays of the set, or compute it again."
WHOLE = "Copy the file again, or write all arrays of the set from the same frames."
TYPES = "Write positions in `type_map.raw`, counted from 0."
SYSTEMS = "training/training_data/systems"

FOLDERS = (
    harmed("Energies as Python objects", array("energy", lambda a: a.astype(object)), AGAIN, E, "Python objects"),
    harmed(
        "Forces as Python objects", array("force", lambda a: np.array([1.5], dtype=object)), AGAIN, F, "must hold num"
    ),
    harmed("Positions as Python objects", array("coord", lambda a: a.astype(object)), AGAIN, C, "Python objects"),
    harmed(
        "Energies as records",
        array("energy", lambda a: np.zeros(3, dtype=[("x", object), ("y", float)])),
        AGAIN,
        *(E, "Python objects"),
    ),
    harmed("Forces as text", array("force", lambda a: a.astype(str)), AGAIN, F, "must hold numbers"),
    harmed("An energy that is NaN", array("energy", value((1,), np.nan)), FRAME, E, "frame 1"),
    harmed("A force that is infinite", array("force", value((2, 11), np.inf)), FRAME, F, "frame 2"),
    harmed("A virial that is infinite", array("virial", value((0, 8), -np.inf)), FRAME, V, "frame 0"),
    harmed(
        "Both infinities",
        array("force", lambda a: value((2, 0), -np.inf)(value((1, 3), np.inf)(a))),
        FRAME,
        *(F, "frame 1"),
    ),
    harmed("A type of -1", text("type.raw", "0 1 1 0 1 -1\n"), TYPES, "data/type.raw", "index -1", "from 0 to 1"),
    harmed(
        "A type without a name", text("type.raw", "0 1 1 0 1 5\n"), TYPES, "data/type.raw", "index 5", "from 0 to 1"
    ),
    harmed("Half a type", text("type.raw", "0 1 1 0 1 0.5\n"), TYPES, "data/type.raw", "index 0.5"),
    harmed("Symbols for types", text("type.raw", "O H H O H H\n"), TYPES, "data/type.raw", "not a list of numbers"),
    harmed("A mixed type without a name", mixed([0, 1, 1, 2, 1, -1]), TYPES, "real_atom_types.npy", "index 2"),
    harmed("A mixed type of -2", mixed([0, 1, 1, 0, 1, -2]), TYPES, "real_atom_types.npy", "index -2", "-1 where"),
    harmed("More energies than frames", array("energy", lambda a: np.append(a, a)), WHOLE, E, "has 6", "must have 3"),
    harmed("Fewer forces than frames", array("force", lambda a: a[:2]), WHOLE, F, "36", "54", "3 frames"),
    harmed("More cells than frames", array("box", lambda a: np.concatenate([a, a])), WHOLE, B, "54", "27"),
    harmed(
        "More parameters than frames",
        array("fparam", lambda a: np.concatenate([a, a])),
        WHOLE,
        *("data/set.000/fparam.npy", "6 frames", "must have 3"),
    ),
    harmed("Another number of atoms", text("type.raw", "0 1 1\n"), "Complete `type.raw`.", C, "54", "27"),
    harmed("A file cut short", cut, WHOLE, F, "cut short"),
    harmed("An empty file", lambda folder: (folder / "set.000" / "force.npy").write_bytes(b""), WHOLE, F, "damaged"),
    harmed("No positions", without("set.000/coord.npy"), "Restore `coord.npy`.", "data/set.000", "no coord.npy"),
    harmed(
        "No forces in any folder",
        without("set.000/force.npy"),
        "Add forces, or set the prefactors to 0 to train energies alone.",
        *("`loss/start_pref_f` is 10", "no folder of the training data has force.npy", "limit_pref_f"),
    ),
    harmed(
        "No energies in any folder",
        without("set.000/energy.npy"),
        "Add energies, or set the prefactors to 0 to train forces alone.",
        *("`loss/start_pref_e` is 1", "energy.npy", "limit_pref_e"),
    ),
    with_input("An element that the model lacks", "model/type_map", ["O"], "Add it.", "`model/type_map` is", "'H'"),
    with_input("An element named twice", "model/type_map", ["O", "H", "H"], "Name it once.", "repeats 'H'"),
    with_input("A folder that is not there", SYSTEMS, ["dta"], "Correct the path.", f"`{SYSTEMS}`", "'dta'"),
    with_input("A folder without data", SYSTEMS, ["empty"], "Correct the path.", f"`{SYSTEMS}`", "'empty'", "type.raw"),
    with_input(
        "Sizes of batches for two folders",
        "training/training_data/batch_size",
        [1, 2],
        "Give one number for each folder, or one for all.",
        *("`training/training_data/batch_size` is [1, 2]", "1 folders"),
    ),
)


def files(desk: Desk) -> None:
    """Write a crystal as several files, most of them damaged."""
    (atoms,) = crystals(1)
    write_atoms("a.xyz", atoms)
    bare = atoms.copy()
    bare.calc = None
    write_atoms("bare.xyz", bare)
    atoms.info["REF_energy"] = 1.0
    write_atoms("two.xyz", atoms)
    Path("a.dat").write_text("nothing\n")
    content = Path("a.xyz").read_text()
    Path("cut.xyz").write_text(content + "\n" + "\n".join(content.splitlines()[:-1]))
    Path("wrong.xyz").write_text(content + content.replace("Cu", "Qq"))
    Path("there").mkdir()


def convert(words: str, remedy: str, *says: str) -> Case:
    """A conversion."""
    return command(f"data convert {words}" + ("" if "-o" in words else " -o out"), remedy, *says, prepare=files)


CONVERT = (
    convert("missing.xyz", "Correct the path.", "`SRC` is missing.xyz but there is no such file"),
    convert("a.dat", "Name the format.", "`SRC` is a.dat", "give `--format`, one of 3dmol, abacus"),
    convert("a.dat --format vesp", "Take one of the names.", "`--format` is 'vesp'", "one of 3dmol, abacus"),
    convert("a.dat --format extxyz", "Check the file.", "a.dat, frame 0, begins with 'nothing'", "number of atoms"),
    convert("a.dat --format vasp/xml", "Check file and format.", "a.dat cannot be read as vasp/xml: ParseError"),
    convert("cut.xyz", "Copy the file again, or remove the last frame.", "cut.xyz ends inside frame 1", "4 atoms"),
    convert("wrong.xyz", "Correct the frame.", "wrong.xyz, frame 1, cannot be read"),
    convert("bare.xyz", "Give files with labels.", "none of 1 frames can be written: 1 with neither energy nor forces"),
    convert("two.xyz", "Say which label to take.", "two.xyz, frame 0 has several values for energy", "`--energy-key`"),
    convert(
        "a.xyz --type-map Cu", "Add the element.", "`--type-map` is Cu but must hold Al, which is in a.xyz, frame 0"
    ),
    convert("a.xyz --type-map Cu Cu", "Name it once.", "`--type-map` is Cu Cu but must not repeat a name"),
    convert("a.xyz --set-size 0", "Give 1 or more.", "`--set-size` is 0 but must be positive"),
    convert("a.xyz --energy-key E", "Take one of the names.", "`--energy-key` is 'E'", "names in the files"),
    convert(
        "a.xyz --valid-fraction 0.1 --split-by key:run",
        "Take a value that every frame has.",
        *("`--split-by` is key:run", "a.xyz, frame 0 has no value 'run'"),
    ),
    convert("a.xyz --valid-fraction 0.5", "Give more frames.", "makes 1 units", "none of them is for"),
    convert("a.xyz -o there", "Remove the folder, or choose another name.", "`--output` is there", "exists"),
)


def data(desk: Desk) -> None:
    """Sound data."""
    desk.data()


def split(words: str, remedy: str, *says: str) -> Case:
    """A split of sound data."""
    return command(f"data split data {words} -o out", remedy, *says, prepare=data)


SPLIT = (
    split("--valid-fraction 0.9", "Give a fraction; 0.1 is usual.", "`--valid-fraction` is 0.9", "at most 0.5"),
    split("--valid-fraction 0", "Give a fraction; 0.1 is usual.", "`--valid-fraction` is 0", "above 0"),
    split("--split-by atoms", "Take one of these.", "`--split-by` is 'atoms'", "frame, block:N, source"),
    split("--split-by block:0", "Give a number of frames.", "`--split-by` is 'block:0'", "block:N"),
    split("--split-by key:run", "Split in the conversion.", "`--split-by` is key:run", "`dpa4 data convert`"),
    split("--split-by source", "Split by less, or give more data.", "makes 1 units", "`--split-by`"),
    command(
        "data split data -o data",
        "Remove the folder, or choose another name.",
        *("`--output` is data", "exists"),
        prepare=data,
    ),
)


def checked(where: str, harm: Harm, remedy: str, *says: str) -> Case:
    """A check of damaged data."""
    return command("data check data", remedy, *says, prepare=lambda desk: desk.data(harm=harm), where=where)


CHECK = (
    command("data check nothing", "Correct the path.", "`DATA` is nothing", "a folder of DeePMD data"),
    command(
        "data check data --cutoff 0",
        "Give a length in Å; 4 is usual.",
        "`--cutoff` is 0 but must be positive",
        prepare=data,
    ),
    command(
        "data check data --max-force nan", "Give a limit in eV/Å.", "`--max-force` is nan", "positive", prepare=data
    ),
    command("data check data --max-force -1", "Give a limit in eV/Å.", "`--max-force` is -1", "positive", prepare=data),
    command("data check data -o page.pdf", "Name a page.", "`--output` is page.pdf", "end in .html", prepare=data),
    command("data check data -o no/page.html", "Make the folder.", "no/page.html", "no folder no", prepare=data),
    checked(
        "there are more energies than frames",
        array("energy", lambda a: np.zeros(5)),
        WHOLE,
        *("data/set.000/energy.npy has 5 values", "must have 3 frames of 1"),
    ),
    checked("energies are objects", array("energy", lambda a: a.astype(object)), AGAIN, "energy.npy is not an array"),
    checked("positions are missing", without("set.000/coord.npy"), "Restore the file.", "set.000 has no coord.npy"),
    checked(
        "cells are missing",
        without("set.000/box.npy"),
        "Restore the file, or write an empty file `nopbc` beside `type.raw` for molecules.",
        *("no box.npy", "nopbc"),
    ),
    checked("a type has no name", text("type.raw", "0 1 1 0 1 5"), TYPES, "type.raw has type 5", "only 2 types"),
    checked("a type is negative", text("type.raw", "0 1 1 0 1 -1"), TYPES, "data/type.raw has type -1", "from 0"),
    checked("types are symbols", text("type.raw", "O H H"), TYPES, "data/type.raw is not a list of integers", "'O'"),
)
KINDS = (
    Kind("Data folders of a training", "`data` is a folder of three frames of six atoms, O and H.", FOLDERS),
    Kind("`dpa4 data convert`", "`a.xyz` holds one crystal of Al and Cu.", CONVERT),
    Kind("`dpa4 data split`", "", SPLIT),
    Kind("`dpa4 data check`", "", CHECK),
)
