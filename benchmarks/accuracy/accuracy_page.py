"""What did the trainings of `curves.py` reach?

Turns the files of results into one page with tables and into a plot of validation error against time.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from matplotlib.ticker import LogLocator, NullFormatter

from deepmd_dpa4.tools.plots.style import COLOURS, picture

RESULTS = Path(__file__).resolve().parent.parent / "results" / "accuracy"
TITLES = {"acac": "acetylacetone", "si": "silicon", "mo": "molybdenum"}
STYLES = {"deepmd-dpa4": "-", "built-in": "--", "dpa3": ":", "mace": "-.", "nequip": (0, (1, 3)), "esen": (0, (6, 3))}
HEAD = """# Error against time

Written by `benchmarks/accuracy/accuracy_page.py` from the files in the folder of the same name, which
`benchmarks/accuracy/curves.py` wrote. Errors on the validation frames, root mean squares: meV for an atom, meV/Å for
a force component. Several seeds are averaged, with the range in parentheses. Time counts from the start of the command.
"""

Record = dict[str, Any]
Kind = tuple[str, str, str, str]
"""Data set, code, network, training."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    folder = parser.parse_args(arguments).results
    records = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    plot = folder.with_suffix(".png")
    if records:
        draw(grouped(records), plot)
    folder.with_suffix(".md").write_text(page(records, plot.name))


def grouped(records: Sequence[Record]) -> dict[Kind, list[Record]]:
    """Collect the seeds of each kind of training."""
    found: dict[Kind, list[Record]] = defaultdict(list)
    for record in records:
        task = record["task"]
        found[task["data"], task["code"], task["network"], task["recipe"]].append(record)
    return dict(found)


def page(records: Sequence[Record], plot: str) -> str:
    """Write the page."""
    parts = [HEAD]
    if records:
        parts.append(f"![Error against time]({plot})\n")
    kinds = grouped(records)
    for name in dict.fromkeys(data for data, *_ in kinds):
        parts.append(f"## {TITLES[name].capitalize()}\n")
        parts.append("| code | network | parameters | training | seeds | steps | time (s) | energy | force |")
        parts.append("|---|---|---|---|---|---|---|---|---|")
        for (data, *words), seeds in kinds.items():
            if data == name:
                parts.append(row(words, seeds))
        parts.append("")
    for text in dict.fromkeys(conditions(record) for record in records):
        parts.append(text)
    return "\n".join(parts) + "\n"


def row(words: Sequence[str], seeds: Sequence[Record]) -> str:
    """Write the last point of the curves of all seeds."""
    code, network, recipe = words
    last = [record["curve"][-1] for record in seeds]
    values = [
        code,
        network,
        f"{seeds[0]['parameters']:,}",
        recipe,
        str(len(seeds)),
        spread([point["step"] for point in last], 0),
        spread([point["seconds"] for point in last], 0),
        spread([point["energy_rmse"] for point in last], 2),
        spread([point["force_rmse"] for point in last], 1),
    ]
    return f"| {' | '.join(values)} |"


def spread(values: Sequence[float], digits: int) -> str:
    """Write a mean, and the range of several values in parentheses."""
    text = f"{mean(values):.{digits}f}"
    low, high = (f"{end(values):.{digits}f}" for end in (min, max))
    return text if low == high else f"{text} ({low} to {high})"


def conditions(record: Record) -> str:
    """Say on what, with what and how long."""
    machine, task = record["machine"], record["task"]
    clock = "processor time of one thread" if task["clock"] == "processor" else "wall time"
    batch = f"at least {task['batch']} atoms in a batch"
    program = f"torch {machine['torch']}, DeePMD-kit {machine['deepmd-kit']}"
    if "program" in record:
        found = record["program"]
        batch = f"{found['settings']['batch']} frames in a batch"
        program = f"torch {found['torch']}, {found['package']} {found['version']}"
    return (
        f"Budget {task['budget']:g} s of {clock}, {batch}, on {machine['threads']} thread of {machine['cpu']}, "
        f"{program}, {record['date']}.\n"
    )


def draw(kinds: dict[Kind, list[Record]], path: Path) -> None:
    """Draw force and energy errors against time, a column for each data set."""
    names = list(dict.fromkeys(data for data, *_ in kinds))
    networks = list(dict.fromkeys(network for _, _, network, _ in kinds))
    with picture(path, len(names), 2) as grid:
        for (data, code, network, _), seeds in kinds.items():
            colour = COLOURS[networks.index(network) % len(COLOURS)]
            for line, key in enumerate(("force_rmse", "energy_rmse")):
                axes = grid[line, names.index(data)]
                for number, record in enumerate(seeds):
                    label = f"{code}, {network}" if number == 0 else None
                    times, values = zip(*((point["seconds"], point[key]) for point in record["curve"]))
                    axes.plot(times, values, linestyle=STYLES[code], color=colour, label=label, marker=".")
                axes.set(xscale="log", yscale="log", xlabel="time (s)", title=TITLES[data])
                axes.set_ylabel("force RMSE (meV/Å)" if line == 0 else "energy RMSE (meV/atom)")
                for axis in (axes.xaxis, axes.yaxis):
                    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                    axis.set_major_formatter("{x:g}")
                    axis.set_minor_formatter(NullFormatter())
        grid[0, 0].legend()


if __name__ == "__main__":
    main()
