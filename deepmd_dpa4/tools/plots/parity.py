"""Predictions against labels."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from deepmd_dpa4.breakdown import Breakdown
from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.inference.structure import Prediction, Structure, conditions_among
from deepmd_dpa4.tools.data.errors import DataError
from deepmd_dpa4.tools.data.frame import Frame, Place
from deepmd_dpa4.tools.data.labelled import Labelled, labelled
from deepmd_dpa4.tools.data.reader import Set, frame_of, sets, systems
from deepmd_dpa4.tools.plots.style import COLOURS, equal_limits, picture, points_or_density

# Structures of together at least so many atoms are evaluated in one call.
ATOMS_PER_CALL = 4096


@dataclass
class Comparison:
    """Labels and predictions of one quantity."""

    name: str
    unit: str
    labels: list[np.ndarray] = field(default_factory=list)
    predictions: list[np.ndarray] = field(default_factory=list)
    subsets: list[str] = field(default_factory=list)
    """Subset of each frame."""
    missing: int = 0
    """Frames without this label."""

    def add(self, label: np.ndarray | None, prediction: np.ndarray, subset: str = "") -> None:
        """Take the values of a frame."""
        if label is None:
            self.missing += 1
        else:
            self.subsets.append(subset)
            self.labels.append(np.ravel(label))
            self.predictions.append(np.ravel(prediction))

    @property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """All labels and predictions."""
        return np.concatenate(self.labels), np.concatenate(self.predictions)

    @property
    def errors(self) -> np.ndarray:
        """Predictions minus labels."""
        labels, predictions = self.pairs
        return predictions - labels

    @property
    def rmse(self) -> float:
        """Root of the mean squared error."""
        return float(np.sqrt(np.mean(self.errors**2)))

    @property
    def mae(self) -> float:
        """Mean absolute error."""
        return float(np.abs(self.errors).mean())


def compare(
    evaluator: Evaluator,
    paths: Sequence[Path],
    frames: int | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
    breakdown: Breakdown | None = None,
    by: str | None = None,
) -> list[Comparison]:
    """Evaluate data sets.

    Parameters
    ----------
    evaluator : Evaluator
        The model.
    paths : sequence of Path
        Folders of DeePMD data, at any depth, and files such as extended XYZ.
    frames : int, optional
        At most so many, evenly spaced over the data; all by default.
    report : callable, optional
        Told the number of frames done and to do.
    breakdown : Breakdown, optional
        Gets every frame too.
    by : str, optional
        Key in the files whose value names the subset of a frame.

    Returns
    -------
    list[Comparison]
        Energy per atom and virial per atom (eV/atom), force components (eV/Angstrom); without those that no frame has.

    Raises
    ------
    DataError
        If there are no data, files of wrong sizes, or frames without the key ``by``, which folders do not have.
    ValueError
        If the model does not know an element.
    """
    energy, force = Comparison("energy", "eV/atom"), Comparison("force", "eV/Å")
    virial = Comparison("virial", "eV/atom")
    parts = parts_of(paths, by)
    total = sum(map(len, parts))
    chosen = total if frames is None else min(frames, total)
    done = 0
    for batch in batches(parts, set(np.linspace(0, total - 1, chosen).round().astype(int).tolist()), evaluator):
        predictions: list[Prediction] = evaluator.evaluate([structure for _, _, structure in batch])
        for (frame, subset, _), prediction in zip(batch, predictions):
            atoms = len(frame.symbols)
            label = None if frame.energy is None else np.array([frame.energy / atoms])
            energy.add(label, np.array([prediction.energy / atoms]), subset)
            force.add(frame.force, prediction.forces, subset)
            if breakdown is not None:
                breakdown.add(frame.place.source, frame.symbols, *errors_of(frame, prediction))
            virial.add(None if frame.virial is None else frame.virial / atoms, prediction.virial / atoms, subset)
        done += len(batch)
        report(done, chosen)
    return [quantity for quantity in (energy, force, virial) if quantity.labels]


def errors_of(frame: Frame, prediction: Prediction) -> tuple[float | None, np.ndarray | None, np.ndarray | None]:
    """Subtract labels from energy, forces and virial; None where a label is missing."""
    return (
        None if frame.energy is None else prediction.energy - frame.energy,
        None if frame.force is None else prediction.forces - frame.force,
        None if frame.virial is None else prediction.virial - frame.virial,
    )


def parts_of(paths: Sequence[Path], by: str | None) -> list[Set | Labelled]:
    """Read the sets of folders and the frames of files.

    Raises
    ------
    DataError
        As :func:`compare`.
    """
    parts: list[Set | Labelled] = []
    for path in paths:
        if path.is_file():
            parts.append(labelled(path, by))
        elif by is not None:
            raise DataError(f"`--by` is {by!r} but {path} is no file: folders of DeePMD data have no such key")
        else:
            parts += [part for system in systems([path]) for part in sets(system)]
    return parts


def batches(
    parts: Sequence[Set | Labelled], chosen: set[int], evaluator: Evaluator
) -> Iterator[list[tuple[Frame, str, Structure]]]:
    """Yield the chosen frames with subsets, numbered through all parts, a few thousand atoms at a time."""
    batch: list[tuple[Frame, str, Structure]] = []
    atoms = number = 0
    for part in parts:
        for index in range(len(part)):
            if number in chosen:
                batch.append(entry(part, index, evaluator))
                atoms += len(batch[-1][0].symbols)
            if atoms >= ATOMS_PER_CALL:
                yield batch
                batch, atoms = [], 0
            number += 1
    if batch:
        yield batch


def entry(part: Set | Labelled, index: int, evaluator: Evaluator) -> tuple[Frame, str, Structure]:
    """Make frame, subset and structure, the last as the model takes it, with the conditions that it asks for.

    The place of a frame names its file or the folder of its system, through whose sets frames are counted, as
    DeePMD-kit does.
    """
    if isinstance(part, Labelled):
        frame, record, subset = part.frames[index], part.records[index], part.subsets[index]
        values, periodic = record.values, record.periodic
    else:
        place = Place(str(part.path.parent), part.first + index)
        frame, subset = replace(frame_of(part, index), place=place), ""
        values, periodic = frame.conditions, None
    known: dict[str, Any] = conditions_among(values, evaluator.widths, str(frame.place))
    structure = Structure(frame.symbols, frame.positions, frame.cell, pbc=periodic, **known)
    return frame.with_finite_labels(), subset, structure


def draw(comparisons: Sequence[Comparison], output: Path, title: str = "") -> None:
    """Draw one panel for each quantity, its errors in the legend."""
    with picture(output, len(comparisons), size=(4.4, 4.2), title=title) as grid:
        for axes, quantity, colour in zip(grid.flat, comparisons, COLOURS):
            labels, predictions = quantity.pairs
            points_or_density(axes, labels, predictions, colour)
            equal_limits(axes, labels, predictions)
            name = f"{quantity.name}{' component' if quantity.name != 'energy' else ''}"
            axes.set(xlabel=f"reference {name} ({quantity.unit})", ylabel=f"predicted {name} ({quantity.unit})")
            milli = f"m{quantity.unit}"
            text = f"RMSE {1000 * quantity.rmse:.4g} {milli}\nMAE {1000 * quantity.mae:.4g} {milli}"
            axes.text(0.04, 0.96, text, transform=axes.transAxes, va="top")
