"""What did all benchmarks find?

Turns the files of results into one page, ``README.md`` beside them, and into plots: ``comparison_DEVICE.png``,
``scaling_DEVICE.png`` and, for the README of the project, ``speedup_DEVICE.png``. Files with a tag get a table but no
place in the plots.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from compare import BUILTIN, HERE, OURS, ratio
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

COMPARED = ("evaluation", "training_step", "dp_train", "freeze", "lammps_step")
"""Benchmarks whose rows are bars of the comparison."""
ORDER = (*COMPARED, "ranks", "scaling", "shapes", "compiled", "operators", "tile_product")
HEADLINE = {
    "energy and forces": "Energy and forces",
    "training step": "Training step",
    "LAMMPS step, native": "LAMMPS step",
}
"""What users do, and the rows of the files that say how long it takes: those on water boxes."""
COLORS = {OURS: "#2a6fb0", BUILTIN: "#b8b8b8"}
HEAD = """# Results

Written by `report.py` from the JSON files in this folder; what the scripts do is said in [benchmarks](../README.md).
Times are medians, with the smallest and the largest in parentheses; the ratio is the second time over the first. Memory
is the peak of the process, in parentheses what of it lies above the loaded model. The yardstick is the speed of a fixed
fp32 matrix product just before each run: where it differs between two columns, the machine was not equally fast.
"""


class Record:
    """One file of results."""

    def __init__(self, path: Path) -> None:
        found = re.fullmatch(r"(\w+?)_(cpu|cuda)(?:_(.+))?", path.stem)
        assert found is not None
        self.script, self.device, self.tag = found.groups()
        self.data: dict[str, Any] = json.loads(path.read_text())
        self.rows: list[dict[str, Any]] = self.data["rows"]

    @property
    def order(self) -> tuple[Any, ...]:
        place = ORDER.index(self.script) if self.script in ORDER else len(ORDER)
        return self.device, place, self.script, self.tag or ""


def main(arguments: list[str] | None = None) -> None:
    command = argparse.ArgumentParser(description=__doc__)
    command.add_argument("--results", type=Path, default=HERE / "results", help="folder of the files of results")
    folder = command.parse_args(arguments).results
    records = read(folder)
    plots = {device: draw(folder, device, records) for device in sorted({record.device for record in records})}
    (folder / "README.md").write_text(page(records, plots))


def read(folder: Path) -> list[Record]:
    """All files of results, in the order of the page."""
    paths = [path for path in folder.glob("*.json") if re.search(r"_(cpu|cuda)(_|$)", path.stem)]
    return sorted((Record(path) for path in paths), key=lambda record: record.order)


def page(records: list[Record], plots: dict[str, list[Path]]) -> str:
    """The page."""
    parts = [HEAD]
    for device, paths in plots.items():
        parts.append(f"## {'Processor' if device == 'cpu' else 'GPU'}\n")
        parts += [f"![{path.stem.replace('_', ' ')}]({path.name})\n" for path in paths]
        parts += [section(record) for record in records if record.device == device]
    return "\n".join(parts)


def section(record: Record) -> str:
    """Question, machine, settings and table of one file."""
    title = f"`{record.script}.py`" + (f", {record.tag}" if record.tag else "")
    lines = [f"### {title}", "", record.data["question"], "", conditions(record), ""]
    lines += [f"Largest over smallest time per atom, {name}: {text}." + "\n" for name, text in flatness(record)]
    return "\n".join([*lines, *table(record.rows)]) + "\n"


def conditions(record: Record) -> str:
    """Machine and settings in one line."""
    machine, settings = record.data["machine"], record.data["settings"]
    versions = ", ".join(f"{name} {machine[name]}" for name in ("torch", "deepmd-kit", "deepmd-dpa4"))
    instructions = f" ({machine['instructions']})" if "instructions" in machine else ""
    where = machine["gpu"] or f"{machine['cpu']}{instructions}, {machine['threads']} threads"
    parts = [where, versions, f"kernels: {settings['kernels']}"]
    parts += [f"{key}: {' '.join(settings[key])}" for key in ("set", "built-in environment") if settings[key]]
    parts += ["allocator settings"] if settings["allocator"] else []
    parts += ["processor time, on a machine that others used meanwhile"] if settings.get("processor time") else []
    return "; ".join(parts) + "."


def flatness(record: Record) -> list[tuple[str, str]]:
    """Of each network and side, where the file has it."""
    found = record.data.get("flatness", {})
    return [(name, ", ".join(f"{side} {value:.2f}" for side, value in sides.items())) for name, sides in found.items()]


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Rows of a markdown table; the sides are named in its head."""
    sides = list(dict.fromkeys(side for row in rows for side in row["results"]))
    remembered = any(result.get("peak_mb") for row in rows for result in row["results"].values())
    head = ["quantity", "network", "atoms", *sides]
    head += ["ratio"] if len(sides) == 2 else []
    if remembered:
        head += [f"memory, {side}" for side in sides]
        head += ["ratio"] if len(sides) == 2 else []
    head += ["yardstick, GFLOP/s"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        results = [row["results"].get(side) for side in sides]
        cells = [row["quantity"], row["model"], row["system"], *(spread(result) for result in results)]
        cells += [times(row["ratio"])] if len(sides) == 2 else []
        if remembered:
            cells += [peak(result) for result in results]
            cells += [memory_ratio(row["results"])] if len(sides) == 2 else []
        cells += [", ".join(f"{result['yardstick_gflops']:.0f}" for result in results if result)]
        lines.append(cells)
    return [f"| {' | '.join(cells)} |" for cells in lines]


def spread(result: dict[str, Any] | None) -> str:
    """Median, smallest and largest time."""
    if result is None:
        return ""
    unit, factor = ("ms", 1e3) if result["median_s"] < 0.1 else ("s", 1.0)
    low, middle, high = (f"{factor * result[key]:.3g}" for key in ("min_s", "median_s", "max_s"))
    return f"{middle} {unit}" if result["repeats"] == 1 else f"{middle} {unit} ({low} to {high})"


def peak(result: dict[str, Any] | None) -> str:
    """Peak memory."""
    if result is None or not result.get("peak_mb"):
        return ""
    text = f"{result['peak_mb']:,.0f} MB"
    return text + (f" ({above(result):,.0f})" if "baseline_mb" in result else "")


def memory_ratio(results: dict[str, dict[str, Any]]) -> str:
    """Of the peaks, and of what lies above the models."""
    text = times(ratio(results, "peak_mb"))
    if not text or any("baseline_mb" not in result for result in results.values()):
        return text
    return f"{text} ({times(ratio({side: {'mb': above(result)} for side, result in results.items()}, 'mb'))})"


def above(result: dict[str, Any]) -> float:
    """Peak memory above that of the loaded model, MB."""
    return max(result["peak_mb"] - result["baseline_mb"], 0.0)


def times(value: float | None) -> str:
    """A ratio."""
    return f"{value:.2g}" if value and value < 10 else f"{value:.0f}" if value else ""


def draw(folder: Path, device: str, records: list[Record]) -> list[Path]:
    """The plots that there is something to show in."""
    plain = {record.script: record for record in records if record.device == device and not record.tag}
    bars = [row for script in COMPARED if script in plain for row in plain[script].rows if row["ratio"]]
    found = []
    if bars:
        found.append(save(draw_comparison(bars), folder / f"comparison_{device}.png"))
    headline = [row for row in bars if row["quantity"] in HEADLINE and row["system"].endswith(" water atoms")]
    if headline:
        save(draw_speedup(headline), folder / f"speedup_{device}.png")
    if "scaling" in plain:
        found.append(save(draw_scaling(plain["scaling"].rows), folder / f"scaling_{device}.png"))
    return found


def draw_comparison(rows: list[dict[str, Any]]) -> Figure:
    """Time of both sides relative to the built-in DPA4, with times and ratios written beside the bars."""
    figure, axes = plt.subplots(figsize=(7.5, 0.8 + 0.5 * len(rows)), layout="constrained")
    for place, row in enumerate(rows):
        theirs = row["results"][BUILTIN]["median_s"]
        for shift, side in ((-0.19, OURS), (0.19, BUILTIN)):
            seconds = row["results"][side]["median_s"]
            axes.barh(place + shift, seconds / theirs, 0.36, color=COLORS[side], label=side if place == 0 else None)
            label = f"{seconds:.3g} s" + (f", ratio {times(row['ratio'])}" if side == OURS else "")
            axes.text(seconds / theirs + 0.01, place + shift, label, va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [", ".join(filter(None, name(row))) for row in rows], fontsize=8)
    axes.set(xlabel="time relative to built-in", xlim=(0, max(1.0, *(1 / row["ratio"] for row in rows)) + 0.4))
    axes.invert_yaxis()
    axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_speedup(rows: list[dict[str, Any]]) -> Figure:
    """How many times faster this package is, with both times beside the bars."""
    figure, axes = plt.subplots(figsize=(7.5, 0.7 + 0.34 * len(rows)), layout="constrained")
    for place, row in enumerate(rows):
        ours, theirs = (row["results"][side]["median_s"] for side in (OURS, BUILTIN))
        axes.barh(place, row["ratio"], 0.7, color=COLORS[OURS])
        axes.text(row["ratio"] + 0.15, place, f"{theirs:.2g} s \u2192 {ours:.2g} s", va="center", fontsize=8)
    labels = [f"{HEADLINE[row['quantity']]}, {row['model'].capitalize()}, {row['atoms']:,} atoms" for row in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    fastest = max(row["ratio"] for row in rows)
    axes.set(xlabel="times faster than the built-in DPA4 of DeePMD-kit", xlim=(0, 1.2 * fastest))
    axes.axvline(1.0, color=COLORS[BUILTIN], linewidth=1)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def name(row: dict[str, Any]) -> tuple[str, str, str]:
    """What a bar stands for."""
    return row["quantity"], row["model"], row["system"].removesuffix(" water atoms")


def draw_scaling(rows: list[dict[str, Any]]) -> Figure:
    """Time and memory per atom against the number of atoms."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    for model, line in zip(dict.fromkeys(row["model"] for row in rows), ("-", "--", ":"), strict=False):
        for side in (OURS, BUILTIN):
            chosen = [row for row in rows if row["model"] == model and side in row["results"]]
            results = [(row["atoms"], row["results"][side]) for row in chosen]
            style = {"marker": "o", "markersize": 4, "linestyle": line, "color": COLORS[side]}
            label = f"{side}, {model}"
            points(left, [(n, 1e3 * result["median_s"] / n) for n, result in results], label, style)
            points(right, [(n, above(result) / n) for n, result in results if above(result)], label, style)
    left.set(ylabel="time per atom (ms)", title="energy and forces")
    right.set(ylabel="memory per atom (MB)", title="peak above the model")
    sizes = sorted({row["atoms"] for row in rows})
    for axes in (left, right):
        # small systems may fit into memory that was there before
        axes.set(xlabel="atoms", xscale="log", yscale="log" if axes.lines else "linear")
        axes.set_xticks(sizes[::2], [f"{n:,}" for n in sizes[::2]])
        axes.xaxis.set_minor_formatter(NullFormatter())
        if axes.lines:
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
    left.legend(frameon=False, fontsize=8)
    return figure


def points(axes: Axes, values: list[tuple[float, float]], label: str, style: dict[str, Any]) -> None:
    """One line."""
    if values:
        axes.plot([x for x, _ in values], [y for _, y in values], label=label, **style)


def save(figure: Figure, path: Path) -> Path:
    """Write a plot."""
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path


if __name__ == "__main__":
    main()
