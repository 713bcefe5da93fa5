"""One pass over data that writes descriptors as it goes."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.inference.structure import Structure
from deepmd_dpa4.tools.data.errors import DataError
from deepmd_dpa4.tools.data.frame import Frame
from deepmd_dpa4.tools.data.labelled import Labelled
from deepmd_dpa4.tools.data.reader import Set
from deepmd_dpa4.tools.descriptors.rows import Rows
from deepmd_dpa4.tools.plots.parity import batches, parts_of

ATOMS_AT_ONCE = 512
"""Atoms of one evaluation, unless a frame has more; it keeps some 20 kB for each neighbour of an atom at most."""

Report = Callable[[int, int], None]
Entry = tuple[Frame, str, Structure]


def collect(
    evaluator: Evaluator,
    paths: Sequence[Path],
    output: Path,
    atoms: bool = False,
    frames: int | None = None,
    errors: bool = False,
    report: Report = lambda done, total: None,
) -> Rows:
    """Write the descriptors of data sets.

    Memory does not depend on the number of frames but for the table that is returned.

    Parameters
    ----------
    evaluator : Evaluator
        The model.
    paths : sequence of Path
        Folders of DeePMD data, at any depth, and files such as extended XYZ.
    output : Path
        File ``.npy``, a matrix with a row for each frame or atom.
    atoms : bool
        Write a row for each atom; by default the mean over the atoms of each frame, or zeros for one without atoms.
    frames : int, optional
        At most so many, evenly spaced over the data; all by default.
    errors : bool
        Compare energies and forces with their labels, which takes several times as long.
    report : callable, optional
        Told the number of frames done and to do.

    Returns
    -------
    Rows
        What the rows belong to.

    Raises
    ------
    DataError
        If there are no data, or files of wrong sizes.
    ValueError
        If the model does not know an element, or its file does not tell descriptors.
    """
    parts = parts_of(paths, None)
    total = sum(map(len, parts))
    count = total if frames is None else min(frames, total)
    if not count:
        raise DataError(f"`DATA` is {', '.join(map(str, paths))} but must have frames")
    chosen = set(np.linspace(0, total - 1, count).round().astype(int).tolist())
    rows, done = Rows(atoms, errors), 0
    with output.open("wb") as file:
        for batch in batches(parts, chosen, evaluator):
            for piece in pieces(batch):
                found = evaluator.descriptors([structure for _, _, structure in piece])
                if not rows.systems:
                    write_header(file, found[0], count_atoms(parts, chosen) if atoms else count)
                for descriptor in found:
                    file.write(descriptor.tobytes() if atoms else mean_of(descriptor).tobytes())
                structures = [structure for _, _, structure in piece]
                predictions = evaluator.evaluate(structures, uncertainty=False) if errors else [None] * len(piece)
                for (frame, _, _), prediction in zip(piece, predictions, strict=True):
                    rows.add(frame, prediction)
                done += len(piece)
                report(done, count)
    return rows


def mean_of(descriptor: np.ndarray) -> np.ndarray:
    """Average the descriptors (n, C) of a frame, in their own precision: (C,)."""
    total = descriptor.sum(axis=0, dtype=np.float64) / max(len(descriptor), 1)
    return total.astype(descriptor.dtype)  # type: ignore[no-any-return]


def pieces(batch: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Divide frames into groups of few atoms."""
    piece: list[Entry] = []
    atoms = 0
    for entry in batch:
        size = len(entry[0].symbols)
        if piece and atoms + size > ATOMS_AT_ONCE:
            yield piece
            piece, atoms = [], 0
        piece.append(entry)
        atoms += size
    if piece:
        yield piece


def count_atoms(parts: Sequence[Set | Labelled], chosen: set[int]) -> int:
    """Count the atoms of the chosen frames, numbered through all parts."""
    atoms = number = 0
    for part in parts:
        for index in range(len(part)):
            if number in chosen and isinstance(part, Labelled):
                atoms += len(part.frames[index].symbols)
            elif number in chosen and not isinstance(part, Labelled):
                atoms += int(np.count_nonzero(part.types[index] >= 0))
            number += 1
    return atoms


def write_header(file: BinaryIO, like: np.ndarray, rows: int) -> None:
    """Begin a file ``.npy`` of so many rows like those of an array."""
    described = np.lib.format.dtype_to_descr(like.dtype)
    shape = (rows, like.shape[1])
    np.lib.format.write_array_header_1_0(file, {"descr": described, "fortran_order": False, "shape": shape})
