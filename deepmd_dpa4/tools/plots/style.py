"""What all pictures share: colours, size, file formats."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap
from types import MappingProxyType
from typing import Any

import numpy as np

from deepmd_dpa4.files import replacing
from deepmd_dpa4.tools.data.errors import require, require_name

# Colours of Okabe and Ito, which people with any kind of colour vision can tell apart; black is left for references.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31")
REFERENCE = "0.35"
SUFFIXES = (".png", ".svg", ".pdf")
UNITS: Mapping[str, str] = MappingProxyType({"energy": "eV/atom", "force": "eV/Å", "virial": "eV/atom"})
# Points of a scatter plot; more are shown as a density.
MOST_POINTS = 5000


def check_output(path: Path, option: str = "--output") -> None:
    """Refuse a file name before time is spent on its content.

    Raises
    ------
    DataError
        If matplotlib is missing, the suffix is none of .png, .svg and .pdf, or the folder does not exist.
    """
    require("matplotlib", "plot", f"drawing {path}")
    require_name(path, *SUFFIXES, option=option)


@contextmanager
def picture(
    path: Path, columns: int = 1, rows: int = 1, size: tuple[float, float] = (4.6, 3.6), title: str = ""
) -> Iterator[Any]:
    """Give axes (rows, columns) to draw on, written to ``path`` afterwards.

    Parameters
    ----------
    path : Path
        File to write.
    columns, rows : int
        Number of axes.
    size : tuple of float
        Of each, in inches.
    title : str
        What the plot is of: model and data.
    """
    from cycler import cycler
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    settings: Any = {
        "axes.prop_cycle": cycler(color=COLOURS),
        "axes.grid": True,
        "grid.alpha": 0.25,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        # the same data give the same file
        "svg.hashsalt": "deepmd-dpa4",
    }
    with rc_context(settings):
        figure = Figure(figsize=(columns * size[0], rows * size[1]), layout="constrained")
        if title:
            figure.suptitle("\n".join(wrap(title, int(14 * columns * size[0]))), fontsize="medium")
        yield figure.subplots(rows, columns, squeeze=False)
        metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix)
        with replacing(path) as partial:
            figure.savefig(partial, dpi=160, metadata=metadata)


def points_or_density(axes: Any, x: np.ndarray, y: np.ndarray, colour: str) -> None:
    """Draw few points as points, many as the logarithm of their density."""
    if len(x) <= MOST_POINTS:
        axes.scatter(x, y, s=9, color=colour, alpha=0.6, linewidths=0)
        return
    cells = axes.hexbin(x, y, gridsize=90, bins="log", mincnt=1, cmap="cividis", linewidths=0.1, rasterized=True)
    axes.figure.colorbar(cells, ax=axes, label="points per cell")


def equal_limits(axes: Any, *values: np.ndarray) -> None:
    """Set the same range on both axes, with a diagonal."""
    low, high = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
    margin = 0.04 * (high - low) or 1e-3
    limits = (low - margin, high + margin)
    axes.plot(limits, limits, color=REFERENCE, linewidth=0.9, zorder=0)
    axes.set(xlim=limits, ylim=limits, aspect="equal")


def labels_of(paths: Sequence[Path]) -> list[str]:
    """Make short different names of files: without the folders that all of them share."""
    parts = [path.parts for path in paths]
    while len(parts) > 1 and min(map(len, parts)) > 1 and len({words[0] for words in parts}) == 1:
        parts = [words[1:] for words in parts]
    while len(parts) > 1 and min(map(len, parts)) > 1 and len({words[-1] for words in parts}) == 1:
        parts = [words[:-1] for words in parts]
    return ["/".join(words) for words in parts]
