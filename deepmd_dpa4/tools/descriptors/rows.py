"""What the rows of a matrix of descriptors belong to."""

import csv
import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepmd_dpa4.inference.structure import Prediction
from deepmd_dpa4.tools.data.frame import Frame

CHUNK = 8192
"""Rows that are in memory at a time."""


@dataclass
class Rows:
    """System, frame and, if rows are atoms, atom and element of each row, in some 30 bytes.

    Parameters
    ----------
    atoms : bool
        Whether a row is an atom rather than the mean over a frame.
    errors : bool
        Whether the errors of the model are known.
    """

    atoms: bool
    errors: bool
    systems: dict[str, int] = field(default_factory=dict)
    elements: dict[str, int] = field(default_factory=dict)
    system: "array[int]" = field(default_factory=lambda: array("l"))
    frame: "array[int]" = field(default_factory=lambda: array("l"))
    atom: "array[int]" = field(default_factory=lambda: array("l"))
    element: "array[int]" = field(default_factory=lambda: array("h"))
    energy_error: "array[float]" = field(default_factory=lambda: array("f"))
    force_error: "array[float]" = field(default_factory=lambda: array("f"))

    def __len__(self) -> int:
        return len(self.system)

    def add(self, frame: Frame, prediction: Prediction | None) -> None:
        """Take the rows of a frame.

        Parameters
        ----------
        frame : Frame
            With its labels; its place names file or folder.
        prediction : Prediction, optional
            What the model says, where errors are wanted.
        """
        count = len(frame.symbols) if self.atoms else 1
        number = self.systems.setdefault(frame.place.source, len(self.systems))
        self.system.extend([number] * count)
        self.frame.extend([frame.place.index] * count)
        if self.atoms:
            self.atom.extend(range(count))
            self.element.extend(self.elements.setdefault(name, len(self.elements)) for name in frame.symbols)
        if prediction is not None:
            energy, forces = errors_of(frame, prediction)
            self.energy_error.extend([energy] * count)
            self.force_error.extend(forces if self.atoms else [root_mean_square(forces)])

    def columns(self) -> list[str]:
        """Name the columns of the table."""
        names = ["system", "frame", *(["atom", "element"] if self.atoms else [])]
        return names + (["energy_error_eV_per_atom", "force_error_eV_per_A"] if self.errors else [])

    def table(self, start: int, stop: int) -> Iterator[list[Any]]:
        """Yield rows of the table; what is not known stays empty."""
        systems, elements = list(self.systems), list(self.elements)
        for index in range(start, stop):
            values: list[Any] = [systems[self.system[index]], self.frame[index]]
            if self.atoms:
                values += [self.atom[index], elements[self.element[index]]]
            if self.errors:
                errors = self.energy_error[index], self.force_error[index]
                values += ["" if math.isnan(error) else f"{error:.6g}" for error in errors]
            yield values


def errors_of(frame: Frame, prediction: Prediction) -> tuple[float, NDArray[np.float64]]:
    """Compute the error of the energy, eV/atom, and of the force on each atom, eV/Angstrom; NaN without a label."""
    energy, forces = math.nan, np.full(len(frame.symbols), math.nan)
    if frame.energy is not None:
        energy = (prediction.energy - frame.energy) / max(len(frame.symbols), 1)
    if frame.force is not None:
        forces = np.linalg.norm(prediction.forces - frame.force, axis=1)
    return energy, forces


def root_mean_square(errors: NDArray[np.float64]) -> float:
    """Average the errors of the forces of a frame: the root of the mean squared norm, eV/Angstrom."""
    return math.sqrt(np.mean(errors**2)) if errors.size else math.nan


def write_table(path: Path, rows: Rows, more: dict[str, NDArray[np.floating[Any]]]) -> None:
    """Write a table of the rows, with further columns.

    Parameters
    ----------
    path : Path
        File of comma-separated values.
    rows : Rows
        First columns.
    more : dict
        Arrays (rows, k) by the beginning of the names of their columns, which a number completes if k > 1.
    """
    names = [
        f"{name}{index}" if values.shape[1] > 1 else name
        for name, values in more.items()
        for index in range(values.shape[1])
    ]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(rows.columns() + names)
        for start, stop in chunks(len(rows)):
            parts = [np.asarray(values[start:stop]) for values in more.values()]
            for index, values in enumerate(rows.table(start, stop)):
                writer.writerow(values + [f"{number:.8g}" for part in parts for number in part[index]])


def chunks(count: int) -> Iterator[tuple[int, int]]:
    """Yield bounds of consecutive parts that fit in memory."""
    return ((start, min(start + CHUNK, count)) for start in range(0, count, CHUNK))
