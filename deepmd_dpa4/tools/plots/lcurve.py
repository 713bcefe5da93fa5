"""Learning curves from the ``lcurve.out`` of DeePMD-kit."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepmd_dpa4.tools.data.errors import DataError
from deepmd_dpa4.tools.plots.style import COLOURS, labels_of, picture

QUANTITIES = {
    "": "root of the loss",
    "_e": "energy {} (eV/atom)",
    "_f": "force {} (eV/Å)",
    "_v": "virial {} (eV/atom)",
    "_ae": "atomic energy {} (eV)",
    "_pf": "weighted force {} (eV/Å)",
    "_h": "Hessian {} (eV/Å²)",
}
ERRORS = {"rmse": "RMSE", "mae": "MAE"}
COLUMN = re.compile(r"(?P<error>rmse|mae)(?P<what>_[a-z]+?)?_(?P<part>trn|val)(?:_(?P<branch>.+))?")


@dataclass(frozen=True, slots=True)
class Curve:
    """One column of a file."""

    label: str
    """Name on the axis, with the unit."""
    branch: str
    """Branch of a multi-task training; empty for a single task."""
    validation: bool
    steps: np.ndarray
    values: np.ndarray


def read(path: Path) -> list[Curve]:
    """Read the curves of a file, without columns that are not a number throughout.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataError
        If it is not a learning curve, or has no finished step.
    """
    if not path.is_file():
        raise FileNotFoundError(f"`LCURVE` is {path} but there is no such file")
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    headers = {tuple(line.split()[1:]) for line in lines if line.split()[:2] == ["#", "step"]}
    if len(headers) != 1:
        raise DataError(f"`LCURVE` is {path} but must be one lcurve.out: it has {len(headers)} different headers")
    (names,) = headers
    # what follows the last line break is a line that is being written
    rows = [line.split() for line in lines[:-1] if line.strip() and not line.startswith("#")]
    try:
        table = np.array(rows, dtype=np.float64).reshape(len(rows), len(names))
    except ValueError:
        wrong = next(number for number, row in enumerate(rows) if not is_row(row, len(names)))
        raise DataError(f"{path}: row {wrong} under the header must have {len(names)} numbers") from None
    if not len(table):
        raise DataError(f"`LCURVE` is {path}, which has no finished step")
    found = [curve(name, table[:, 0], table[:, column]) for column, name in enumerate(names) if column]
    return [item for item in found if np.isfinite(item.values).any()]


def is_row(words: list[str], columns: int) -> bool:
    """Tell whether a line is a full row of numbers."""
    try:
        return len([float(word) for word in words]) == columns
    except ValueError:
        return False


def curve(name: str, steps: np.ndarray, values: np.ndarray) -> Curve:
    """Tell from its name what a column is."""
    if name == "lr":
        return Curve("learning rate", "", False, steps, values)
    match = COLUMN.fullmatch(name)
    if match is None:
        return Curve(name, "", False, steps, values)
    what = match["what"] or ""
    label = QUANTITIES.get(what, f"{what[1:]} {{}}").format(ERRORS[match["error"]])
    return Curve(label, match["branch"] or "", match["part"] == "val", steps, values)


def draw(paths: Sequence[Path], output: Path, log_steps: bool = False) -> None:
    """Draw one panel for each quantity: thick lines for validation, thin ones for training batches.

    Parameters
    ----------
    paths : sequence of Path
        Files ``lcurve.out``.
    output : Path
        Picture.
    log_steps : bool
        Logarithmic axis of steps, too.

    Raises
    ------
    DataError, FileNotFoundError
        As :func:`read`.
    """
    files = dict(zip(labels_of(paths), map(read, paths)))
    labels = sorted({curve.label for curves in files.values() for curve in curves}, key=panel_order)
    series = list(
        dict.fromkeys((file, c.branch) for file, curves in files.items() for c in curves if c.branch or single(curves))
    )
    columns = min(len(labels), 3)
    rows = -(-len(labels) // columns)
    # the folder tells trainings apart, the name does not
    title = str(Path(paths[0].resolve().parent.name) / paths[0].name) if len(files) == 1 else ""
    with picture(output, columns, rows, title=title) as grid:
        for axes, label in zip(grid.flat, labels):
            for file, curves in files.items():
                for item in (c for c in curves if c.label == label):
                    place = series.index((file, item.branch)) if (file, item.branch) in series else None
                    draw_curve(axes, item, name_of(file, item, len(files)), place)
            axes.set(xlabel="training step", ylabel=label, yscale="log", xscale="log" if log_steps else "linear")
            if axes.get_legend_handles_labels()[0]:
                axes.legend(fontsize="small")
        for axes in grid.flat[len(labels) :]:
            axes.remove()


def single(curves: list[Curve]) -> bool:
    """Tell whether a file is of a training of one task."""
    return all(not curve.branch for curve in curves)


def panel_order(label: str) -> tuple[int, str]:
    """Sort panels: energy, force, virial, others, the loss, the learning rate."""
    first = ("energy", "force", "virial")
    last = ("root", "learning")
    word = label.split()[0]
    if word in first:
        return first.index(word), label
    return (10 + last.index(word) if word in last else 5), label


def name_of(file: str, item: Curve, files: int) -> str:
    """Name the entry of the legend."""
    part = "" if item.label == "learning rate" else "validation" if item.validation else "training"
    words = [file if files > 1 else "", item.branch, part]
    return ", ".join(word for word in words if word)


def draw_curve(axes: object, item: Curve, name: str, place: int | None) -> None:
    """Draw a line; ``place`` picks the colour, black for what belongs to all branches."""
    colour = "black" if place is None else COLOURS[place % len(COLOURS)]
    style = {"linewidth": 1.8} if item.validation or item.label == "learning rate" else {"linewidth": 0.8, "alpha": 0.6}
    # a warm-up starts at a rate of zero
    values = np.where(item.values > 0, item.values, np.nan)
    axes.plot(item.steps, values, color=colour, label=name or None, **style)  # type: ignore[attr-defined]
