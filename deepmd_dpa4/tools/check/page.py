"""One page with verdicts, findings and plots."""

import base64
import tempfile
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from deepmd_dpa4.files import write_text
from deepmd_dpa4.tools.check.instrument import Outcome, Plot, Verdict
from deepmd_dpa4.tools.check.report import Report
from deepmd_dpa4.tools.check.suite import SOUND
from deepmd_dpa4.tools.data.summary import Table
from deepmd_dpa4.tools.plots.data_page import STYLE, as_html
from deepmd_dpa4.tools.plots.style import REFERENCE, picture

COLUMNS = 4
SHOWN = 30
"""Findings of an instrument that are listed."""
ROWS = 8
"""Rows of panels in one picture."""
LABELLED = 6
"""Names that fit into a legend."""


def write(report: Report, title: str, path: Path) -> None:
    """Write the page; it needs no other file and no network."""
    parts = [f"<h1>{escape(title)}</h1>", as_html(verdicts(report))]
    for name, outcome in report.outcomes.items():
        parts.append(section(name, outcome))
    write_text(
        path,
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style></head>\n<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n",
    )


def verdicts(report: Report) -> Table:
    """Tabulate what each instrument says."""
    rows = [
        (name, outcome.verdict.value, SOUND.get(name, ""), summary(outcome), f"{report.seconds[name]:.1f}")
        for name, outcome in report.outcomes.items()
    ]
    return Table(f"Verdict: {report.verdict.value}", ("instrument", "verdict", "sound", "found", "seconds"), rows)


def summary(outcome: Outcome) -> str:
    """Return the worst that was found, and how much more there is; the last number where all is well."""
    if outcome.found:
        more = f" (and {len(outcome.found) - 1} more)" if len(outcome.found) > 1 else ""
        return outcome.found[0] + more
    return "; ".join(f"{name} {value:.3g}" for name, value in list(outcome.numbers.items())[-2:])


def section(name: str, outcome: Outcome) -> str:
    """Write all that an instrument found."""
    numbers = Table(
        f"{name}: {outcome.verdict.value}", ("", ""), [(key, f"{value:.6g}") for key, value in outcome.numbers.items()]
    )
    parts = [as_html(numbers)]
    if outcome.found:
        items = "".join(f"<li>{escape(text)}</li>\n" for text in outcome.found[:SHOWN])
        rest = len(outcome.found) - SHOWN
        parts.append(f"<ul>\n{items}{f'<li>and {rest} more</li>' if rest > 0 else ''}</ul>")
    if outcome.verdict is not Verdict.NOT_RUN and outcome.plots:
        parts += [
            f'<img alt="{escape(name)}" src="{panels(outcome.plots[start : start + COLUMNS * ROWS])}">'
            for start in range(0, len(outcome.plots), COLUMNS * ROWS)
        ]
    return "\n".join(parts)


def panels(plots: tuple[Plot, ...]) -> str:
    """Draw plots as an address that holds the picture."""
    columns = min(COLUMNS, max(2, len(plots)))
    rows = -(-len(plots) // columns)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "panels.svg"
        with picture(path, columns, rows) as grid:
            for axes, plot in zip(grid.flat, plots):
                draw(axes, plot)
            for axes in grid.flat[len(plots) :]:
                axes.remove()
        return "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode()


def draw(axes: Any, plot: Plot) -> None:
    """Draw one panel."""
    for axis, scale in (("x", plot.x_scale), ("y", plot.y_scale)):
        values = np.concatenate([getattr(line, axis) for line in plot.lines])
        # a logarithmic axis has no place for data without a positive number
        if scale != "log" or np.nanmax(values, initial=0.0) > 0:
            getattr(axes, f"set_{axis}scale")(scale)
    few = len(plot.lines) <= LABELLED
    for number, line in enumerate(plot.lines):
        label = line.name if few and line.name else None
        if plot.points and number == 0:
            axes.plot(line.x, line.y, "o", markersize=3, alpha=0.7, label=label)
        elif plot.points:
            order = np.argsort(line.x)
            axes.plot(line.x[order], line.y[order], "--", color=REFERENCE, linewidth=0.9, label=label)
        else:
            axes.plot(line.x, line.y, "-" if number == 0 or not few else "--", linewidth=1.2, label=label)
    if axes.get_xscale() == "log":
        # within a decade the labels of minor ticks run into each other
        axes.xaxis.set_minor_formatter("")
    axes.set(xlabel=plot.x_label, ylabel=plot.y_label)
    axes.set_title(plot.title, fontsize=9)
    if few and any(line.name for line in plot.lines):
        axes.legend(fontsize=7)
