"""Maps of descriptors, coloured by system and by error."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from deepmd_dpa4.tools.descriptors.project import Projection
from deepmd_dpa4.tools.descriptors.rows import Rows
from deepmd_dpa4.tools.plots.style import COLOURS, REFERENCE, labels_of, picture

MOST_DRAWN = 20_000
"""Points, evenly spaced over the rows; more hide each other."""


def draw(projection: Projection, rows: Rows, output: Path, title: str = "") -> None:
    """Draw a panel coloured by system and, if there are labels, one coloured by the error of the forces or energies."""
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_DRAWN)).round().astype(int))
    points = projection.points[chosen]
    errors = error_of(rows)
    with picture(output, 1 if errors is None else 2, size=(5.4, 4.4), title=title) as grid:
        for axes in grid.flat:
            axes.set(xlabel=projection.axes[0], ylabel=projection.axes[1])
        draw_systems(grid.flat[0], points, np.array(rows.system)[chosen], list(rows.systems))
        if errors is not None:
            draw_errors(grid.flat[1], points, np.abs(errors[0][chosen]), errors[1])


def error_of(rows: Rows) -> tuple[np.ndarray, str] | None:
    """Choose the error that colours the points, and name it: that of forces, else of energies, None without labels."""
    for values, name in ((rows.force_error, "force error (eV/Å)"), (rows.energy_error, "energy error (eV/atom)")):
        errors = np.array(values)
        if np.isfinite(errors).any():
            return errors, name
    return None


def draw_systems(axes: Any, points: np.ndarray, system: np.ndarray, names: list[str]) -> None:
    """Give the largest systems colours of their own, and one to all others."""
    labels = labels_of([Path(name) for name in names]) if len(names) > 1 else names
    largest = [number for number, _ in Counter(system.tolist()).most_common(len(COLOURS))]
    others = ~np.isin(system, largest)
    if others.any():
        text = f"{len(names) - len(largest)} other systems"
        axes.scatter(*points[others].T, s=6, color=REFERENCE, alpha=0.4, linewidths=0, rasterized=True, label=text)
    for number, colour in zip(largest, COLOURS):
        mine = points[system == number]
        axes.scatter(*mine.T, s=6, color=colour, alpha=0.6, linewidths=0, rasterized=True, label=labels[number])
    axes.legend(fontsize="small", markerscale=2)


def draw_errors(axes: Any, points: np.ndarray, errors: np.ndarray, name: str) -> None:
    """Colour points by the logarithm of their error, the largest on top; those without a label stay grey."""
    from matplotlib.colors import LogNorm

    known = np.isfinite(errors)
    axes.scatter(*points[~known].T, s=6, color=REFERENCE, alpha=0.3, linewidths=0, rasterized=True)
    order = np.flatnonzero(known)[np.argsort(errors[known])]
    shown = np.maximum(errors[order], np.finfo(np.float32).tiny)
    low, high = np.percentile(shown, [2, 100])
    colours = LogNorm(low, max(high, 1.001 * low), clip=True)
    drawn = axes.scatter(*points[order].T, s=6, c=shown, norm=colours, cmap="viridis", linewidths=0, rasterized=True)
    axes.figure.colorbar(drawn, ax=axes, label=name)
