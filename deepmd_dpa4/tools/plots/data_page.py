"""A page about data sets: tables and histograms in one file."""

import base64
import tempfile
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from deepmd_dpa4.files import write_text
from deepmd_dpa4.tools.data.statistics import FORCE_BINS
from deepmd_dpa4.tools.data.summary import Summary, Table
from deepmd_dpa4.tools.plots.style import COLOURS, picture

STYLE = """body { font-family: sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin-bottom: 2em; }
td, th { text-align: left; padding: 0.2em 0.9em; border-bottom: 1px solid #ddd; }
img { width: 100%; }"""


def write(summary: Summary, title: str, path: Path) -> None:
    """Write the page; it needs no other file and no network."""
    parts = [f"<h1>{escape(title)}</h1>", f'<img alt="histograms" src="{histograms(summary)}">']
    parts += [as_html(table) for table in summary.tables()]
    page = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style></head>\n<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )
    write_text(path, page)


def as_html(table: Table) -> str:
    """Write a table in HTML."""
    header = "".join(f"<th>{escape(word)}</th>" for word in table.header)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(word)}</td>' for word in row)}</tr>\n" for row in table.rows)
    return f"<h2>{escape(table.title)}</h2>\n<table><tr>{header}</tr>\n{rows}</table>"


def histograms(summary: Summary) -> str:
    """Draw histograms of everything as an address that holds the picture."""
    quantities = {name: values[np.isfinite(values)] for name, values in summary.quantities().items()}
    panels = [partial(draw_elements, summary=summary)]
    panels += [partial(draw_values, name=name, values=values) for name, values in quantities.items() if len(values)]
    if summary.statistics.force_counts.any():
        panels.append(partial(draw_forces, counts=summary.statistics.force_counts))
    columns = 3
    rows = -(-len(panels) // columns)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "histograms.svg"
        with picture(path, columns, rows) as grid:
            for axes, draw in zip(grid.flat, panels):
                draw(axes)
            for axes in grid.flat[len(panels) :]:
                axes.remove()
        return "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode()


def draw_elements(axes: Any, summary: Summary) -> None:
    """Draw the atoms of each element, the most frequent first."""
    names, counts = zip(*summary.statistics.elements.most_common(40))
    axes.bar(names, counts, color=COLOURS[2])
    axes.set(ylabel="atoms", xlabel="element", yscale="log" if max(counts) > 100 * min(counts) else "linear")
    if len(names) > 12:
        axes.tick_params(axis="x", labelrotation=90)


def draw_values(axes: Any, name: str, values: np.ndarray) -> None:
    """Draw a histogram of a number for each frame; wide ranges of positive numbers on a logarithmic axis."""
    wide = values.min() > 0 and values.max() > 100 * values.min()
    bins = np.geomspace(values.min(), values.max(), 61) if wide else 60
    axes.hist(values, bins=bins, color=COLOURS[0])
    axes.set(xlabel=name, ylabel="frames", yscale="log", xscale="log" if wide else "linear")


def draw_forces(axes: Any, counts: np.ndarray) -> None:
    """Draw all force components."""
    filled = np.flatnonzero(counts)
    axes.stairs(counts, FORCE_BINS, fill=True, color=COLOURS[1])
    axes.set(xlabel="absolute force component (eV/Å)", ylabel="components", xscale="log", yscale="log")
    axes.set_xlim(FORCE_BINS[filled[0]], FORCE_BINS[filled[-1] + 1])
