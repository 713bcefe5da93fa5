"""Where do the bytes and the kernels of a step on a graphics card go?

The counts of ``device_free.py``, divided by the stages that are compiled together, by their graphs (value, derivatives)
and by the kind of kernel.
"""

import argparse
from collections import defaultdict

from benchmarks.counting import Cost
from benchmarks.device_free import Prepared
from benchmarks.planning import Planned, total_of
from benchmarks.roofs import GIGA, WAYS
from deepmd_dpa4.tools.presets.sizes import SIZES

Sums = dict[tuple[str, str], Cost]


def sums_of(prepared: Prepared) -> Sums:
    """Costs of what has run, by graph and by kind of kernel; arithmetic is that of a whole graph, under no kind."""
    found: Sums = defaultdict(Cost)
    for where, cost, kernels in prepared.lowering.runs:
        found[where, ""] += cost
        for kernel in kernels:
            found[where, kernel.kind] += total_of([kernel])
    found["between", ""] = prepared.eager
    return found


def largest(prepared: Prepared, count: int) -> list[tuple[str, Planned]]:
    """Kernels that move most, each with its graph."""
    every = [(where, kernel) for where, _, kernels in prepared.lowering.runs for kernel in kernels]
    return sorted(every, key=lambda pair: -pair[1].moved)[:count]


def table(sums: Sums) -> str:
    """Markdown."""
    lines = ["| graph | kernels of | GFLOP | GB moved | kernels |", "|---|---|---|---|---|"]
    for (where, kind), cost in sorted(sums.items()):
        flops = f"{cost.flops / GIGA:.1f}" if kind == "" else ""
        lines.append(f"| {where} | {kind or 'all kinds'} | {flops} | {cost.moved / GIGA:.3f} | {cost.kernels:,} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("--model", default="mini", choices=list(SIZES), metavar="MODEL")
    command.add_argument("--way", default="keeping, Triton", choices=list(WAYS), metavar="WAY")
    command.add_argument("--step", default="training", choices=["training", "evaluation"])
    command.add_argument("--atoms", type=int, default=400)
    command.add_argument("--largest", type=int, default=0, metavar="N", help="list the N kernels that move most")
    options = command.parse_args(arguments)
    prepared = Prepared(options.model, WAYS[options.way])
    total, kept = prepared.cost(options.step, options.atoms)
    print(table(sums_of(prepared)))
    print(
        f"\nall: {total.flops / GIGA:.1f} GFLOP, {total.moved / GIGA:.2f} GB moved, {total.kernels:,} kernels, "
        f"{kept / GIGA:.2f} GB kept"
    )
    for where, kernel in largest(prepared, options.largest):
        print(f"{kernel.moved / GIGA:8.4f} GB  {where}: {kernel.kind}")


if __name__ == "__main__":
    main()
