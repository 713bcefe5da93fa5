"""What is each part of the network worth?

Trains the network `small` of `networks.py` and variants of it, one part changed at a time, on acetylacetone and silicon
with the same time each, and evaluates them on the validation frames: attention or a weighted sum, the rank of the
kernel that mixes degrees, one or two streams, the grid, the precision, the optimizer. `--only equivariance` measures,
in a minute and without data, how well both grids commute with rotations, for each lmax.

What is finished is kept. Writes `parts.md` with the tables and `parts.png` beside the folder of results.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from accuracy_page import TITLES, conditions, spread
from clock import CLOCKS
from codes import Code, Task
from curves import HERE, save, told, trained
from splits import DATA, Folders

from deepmd_dpa4.tools.plots.style import COLOURS, REFERENCE, picture

RESULTS = HERE.parent / "results" / "parts"
BASE = "small"
Record = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """A network: the part that is changed, what it is changed to, and the options of the descriptor or the recipe."""

    part: str
    name: str
    title: str
    changes: dict[str, Any] = field(default_factory=dict)
    recipe: str = "adamw"
    cuda: bool = False
    """Whether it differs from the base on CUDA devices only."""


FULL_PRECISION = {"use_amp": False}
BASIS = Variant("base", "base", "attention, rank 1, one stream, Lebedev, fp32, AdamW")
VARIANTS = (
    BASIS,
    Variant("attention", "sum", "sum weighted by the envelope", {"n_atten_head": 0}),
    Variant("rank", "none", "no mixing of degrees", {"radial_so2_mode": "none"}),
    Variant("rank", "rank0", "rank 0: a kernel for each channel", {"radial_so2_rank": 0}),
    Variant("rank", "rank2", "rank 2", {"radial_so2_rank": 2}),
    Variant("rank", "rank4", "rank 4", {"radial_so2_rank": 4}),
    Variant("streams", "two", "two streams", {"n_focus": 2}),
    Variant("grid", "product", "product grid", {"lebedev_quadrature": False}),
    Variant("precision", "bf16", "bf16 products", {"use_amp": True}, cuda=True),
    Variant("optimizer", "muon", "HybridMuon at the published rate", recipe="published"),
)


@dataclass(frozen=True)
class VariantCode(Code):
    """Our code, with options of the descriptor changed."""

    changes: dict[str, Any] = field(default_factory=dict)

    def section(self, task: Task, folders: Folders, steps: int, saves: int) -> dict[str, Any]:
        """Write the input of the base and change it."""
        document = super().section(replace(task, network=BASE), folders, steps, saves)
        document["model"]["descriptor"] |= FULL_PRECISION | self.changes
        return document


def main(arguments: list[str] | None = None) -> None:
    options = parsed(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if "equivariance" in options.only:
        equivariance(options.results / "equivariance.json")
    if "training" in options.only:
        for variant, task in tasks(options):
            path = options.results / f"{task.name}.json"
            if not path.exists():
                print(f"{task.name}: training", flush=True)
                code = VariantCode(task.code, (task.network,), {}, variant.changes)
                save(path, trained(task, code, options.data, options.work))
            told(path)
    write_page(options.results)


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with acac/ and mlearn/; needed for trainings")
    parser.add_argument("--only", nargs="+", choices=("equivariance", "training"), default=["equivariance", "training"])
    parser.add_argument("--sets", nargs="+", choices=DATA, default=["acac", "si"])
    names = [variant.name for variant in VARIANTS]
    parser.add_argument("--variants", nargs="+", choices=names, default=names, help="default: all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--budget", type=float, default=900, help="seconds of a training; default %(default)s")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="processor: on a machine that others use")
    parser.add_argument("--batch", type=int, default=60, help="atoms of a batch, at least; default %(default)s")
    parser.add_argument("--saves", type=int, default=6, help="points of the curve; default %(default)s")
    parser.add_argument("--work", type=Path, default=Path("parts_work"), help="inputs and checkpoints")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    if "training" in options.only and options.data is None:
        parser.error("--data is missing: --only equivariance needs none")
    return options


def tasks(options: argparse.Namespace) -> Iterator[tuple[Variant, Task]]:
    """Every training: seed by seed, so that an early end leaves a whole comparison."""
    import torch

    for seed in options.seeds:
        for data in options.sets:
            for variant in VARIANTS:
                if variant.name in options.variants and (torch.cuda.is_available() or not variant.cuda):
                    network = f"{BASE}-{variant.name}"
                    yield (
                        variant,
                        Task(
                            "deepmd-dpa4",
                            network,
                            data,
                            seed,
                            options.budget,
                            variant.recipe,
                            options.batch,
                            options.clock,
                            options.saves,
                        ),
                    )


def equivariance(path: Path) -> None:
    """Measure, unless it has been done."""
    if path.exists():
        return
    from equivariance import measured
    from networks import SMALL
    from worker import machine

    start, rows = time.perf_counter(), []
    for row in measured(SMALL | {"rcut": 5.0}):
        rows.append(row)
        print(f"lmax {row['lmax']}, {row['grid']} grid: {row['product_fp64']:.1e} in fp64", flush=True)
    record = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "rows": rows}
    save(path, record | {"seconds": round(time.perf_counter() - start, 1)})


def write_page(folder: Path) -> None:
    """Write tables and plot of what is there."""
    parts = ["# What each part is worth\n", "Written by `benchmarks/accuracy/parts.py` from the files in `parts/`.\n"]
    records = [json.loads(path.read_text()) for path in sorted(folder.glob("*_*.json"))]
    symmetry = folder / "equivariance.json"
    measured = json.loads(symmetry.read_text()) if symmetry.exists() else {"rows": []}
    rows = measured["rows"]
    if records or rows:
        draw(records, rows, folder.with_suffix(".png"))
        parts.append(f"![What each part is worth]({folder.name}.png)\n")
    if records:
        parts.append(training_tables(records))
    if rows:
        machine = measured["machine"]
        parts.append(equivariance_table(rows))
        parts.append(f"On {machine['cpu']}, torch {machine['torch']}, {measured['date']}.\n")
    folder.with_suffix(".md").write_text("\n".join(parts))


def training_tables(records: list[Record]) -> str:
    """Write a table for each data set, with the last point of each variant."""
    lines = []
    for data in dict.fromkeys(record["task"]["data"] for record in records):
        lines += [
            f"## Errors after the same time: {TITLES[data]}\n",
            "Root mean squares on the validation frames; several seeds are averaged, with the range in parentheses.\n",
            "| part | variant | parameters | ms a step | steps | energy (meV/atom) | force (meV/Å) |",
            "|---|---|---|---|---|---|---|",
        ]
        for variant in VARIANTS:
            seeds = of_variant(records, data, variant)
            last = [record["curve"][-1] for record in seeds]
            values = ["", "", "", "not run", "not run"]
            if seeds:
                values = [
                    f"{seeds[0]['parameters']:,}",
                    f"{1000 * seeds[0]['plan']['step_s']:.0f}",
                    spread([point["step"] for point in last], 0),
                    spread([point["energy_rmse"] for point in last], 2),
                    spread([point["force_rmse"] for point in last], 1),
                ]
            lines.append(f"| {variant.part} | {variant.title} | {' | '.join(values)} |")
        lines.append("")
    lines += dict.fromkeys(conditions(record) for record in records)
    return "\n".join(lines)


def of_variant(records: list[Record], data: str, variant: Variant) -> list[Record]:
    """Select the seeds of a variant."""
    wanted = (data, f"{BASE}-{variant.name}")
    return [record for record in records if (record["task"]["data"], record["task"]["network"]) == wanted]


def equivariance_table(rows: list[Record]) -> str:
    """Write the deviations under rotations."""
    columns = {
        "product_fp64": "product, fp64",
        "product_fp32": "product, fp32",
        "force_fp64": "force, fp64",
        "energy_fp64": "energy, fp64",
        "force_fp32": "force, fp32",
        "energy_fp32": "energy, fp32",
    }
    lines = [
        "## Deviations under rotations\n",
        "Largest of three rotations. Product: two fields multiplied on the S2 grid, relative to the largest entry.",
        "Force and energy: of twelve atoms, by a network with random weights and S2 grids in messages and feed-forward",
        "networks, relative to the largest force and the energy.\n",
        f"| lmax | grid | points | {' | '.join(columns.values())} |",
        f"|{'---|' * (3 + len(columns))}",
    ]
    for row in rows:
        values = [f"{row[key]:.1e}" if key in row else "-" for key in columns]
        lines.append(f"| {row['lmax']} | {row['grid']} | {row['points']} | {' | '.join(values)} |")
    return "\n".join(lines) + "\n"


def draw(records: list[Record], rows: list[Record], path: Path) -> None:
    """Draw the force errors of all variants relative to the base, and the deviations under rotations."""
    names = list(dict.fromkeys(record["task"]["data"] for record in records))
    with picture(path, len(names) + bool(rows), size=(5.2, 4.2)) as ((*axes,),):
        for place, data in zip(axes, names):
            bars(place, records, data)
        if rows:
            for colour, grid in zip(COLOURS, dict.fromkeys(row["grid"] for row in rows)):
                for key, style in (("product_fp64", "o-"), ("force_fp64", "s--"), ("product_fp32", "o:")):
                    some = [row for row in rows if row["grid"] == grid and key in row]
                    label = f"{grid} grid, {key.replace('_', ', ')}"
                    axes[-1].plot(
                        [row["lmax"] for row in some], [row[key] for row in some], style, color=colour, label=label
                    )
            axes[-1].set(yscale="log", xlabel="lmax", ylabel="relative deviation under rotations")
            axes[-1].legend(fontsize="small")


def bars(axes: Any, records: list[Record], data: str) -> None:
    """Draw the errors of the variants of one data set over those of the base."""
    found = {variant.name: of_variant(records, data, variant) for variant in VARIANTS}
    there = [name for name, seeds in found.items() if seeds]
    if not found[BASIS.name]:
        return
    for shift, key, colour in ((-0.2, "force_rmse", COLOURS[0]), (0.2, "energy_rmse", COLOURS[1])):
        base = mean_of(found[BASIS.name], key)
        heights = [mean_of(found[name], key) / base for name in there]
        label = key.removesuffix("_rmse")
        axes.bar([place + shift for place in range(len(there))], heights, 0.4, color=colour, label=label)
    axes.axhline(1, color=REFERENCE, linewidth=0.9)
    axes.set_xticks(range(len(there)), there, rotation=45, ha="right")
    axes.set(ylabel="error over that of the base", title=TITLES[data])
    axes.legend()


def mean_of(seeds: list[Record], key: str) -> float:
    """Average the last points."""
    return sum(record["curve"][-1][key] for record in seeds) / len(seeds)


if __name__ == "__main__":
    sys.path.append(str(HERE.parent))
    main()
