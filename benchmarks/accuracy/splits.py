"""Real data with a fixed split: acetylacetone, silicon, molybdenum, read from the folder given with `--data`.

Every tenth frame validates, of each `config_type` for the crystals. Test files are read by :func:`test_frames` only.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deepmd_dpa4.tools.data.frame import Frame
from deepmd_dpa4.tools.data.labels import Keys, Labels
from deepmd_dpa4.tools.data.reader import frames_at
from deepmd_dpa4.tools.data.sources import EXTXYZ, records
from deepmd_dpa4.tools.data.stress import Convention
from deepmd_dpa4.tools.data.writer import Layout, Writer

EVERY = 10
"""One frame of so many validates."""


@dataclass(frozen=True)
class DataSet:
    """Files of one data set, elements, and a cutoff in Angstrom for networks of this benchmark."""

    training: str
    test: str
    type_map: tuple[str, ...]
    rcut: float
    atoms: int | None = None
    """Atoms of a molecule, whose energy is reported instead of that of an atom."""


DATA = {
    "acac": DataSet("acac/train_300K.xyz", "acac/test_MD_300K.xyz", ("H", "C", "O"), 5.0, atoms=15),
    "si": DataSet("mlearn/Si-training.xyz", "mlearn/Si-test.xyz", ("Si",), 5.0),
    "mo": DataSet("mlearn/Mo-training.xyz", "mlearn/Mo-test.xyz", ("Mo",), 5.0),
}


@dataclass(frozen=True)
class Folders:
    """DeePMD folders of a split."""

    training: Path
    validation: Path


def read(path: Path) -> Iterator[tuple[str, Frame]]:
    """Yield `config_type` and labelled frame of each frame of an extended XYZ file.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    labels = Labels(Keys(), Convention())
    for record in records(path, EXTXYZ):
        yield str(record.values.get("config_type", "")), labels.frame(record)


def split(path: Path) -> tuple[list[Frame], list[Frame]]:
    """Divide the frames of a file into training and validation; the tenth frame of each `config_type` validates."""
    parts: tuple[list[Frame], list[Frame]] = ([], [])
    seen: Counter[str] = Counter()
    for kind, frame in read(path):
        seen[kind] += 1
        parts[seen[kind] % EVERY == 0].append(frame)
    return parts


def write(name: str, data: Path, output: Path) -> Folders:
    """Write the split of a data set to DeePMD folders below ``output``, unless they are there.

    Raises
    ------
    FileNotFoundError
        If the data are not there.
    """
    chosen = DATA[name]
    folders = Folders(output / name / "train", output / name / "valid")
    if not folders.validation.exists():
        for folder, frames in zip((folders.training, folders.validation), split(data / chosen.training)):
            if not folder.exists():
                with Writer(folder, Layout(type_map=chosen.type_map)) as writer:
                    for frame in frames:
                        writer.add(frame)
    return folders


def validation_frames(folders: Folders) -> list[Frame]:
    """Read the frames on which hyper-parameters are chosen."""
    return list(frames_at([folders.validation]))


def test_frames(name: str, data: Path) -> list[Frame]:
    """Read the test file, which is for the end only."""
    return [frame for _, frame in read(data / DATA[name].test)]
