"""How do time and memory of energy and forces grow with the number of atoms?

Liquid water from 192 atoms up; every size in fresh processes. Flatness is the largest over the smallest time per atom.
"""

import systems
from compare import OURS, SIDES, Bench, parser

SIZES = (192, 384, 768, 1536, 3072, 6144, 12288, 20736)


def main(arguments: list[str] | None = None) -> None:
    command = parser(__doc__)
    command.set_defaults(models=["mini"], repeats=3)
    command.add_argument("--up-to", type=int, default=20736, help="largest number of atoms")
    command.add_argument(
        "--builtin-up-to",
        type=int,
        default=1536,
        help="the same for the built-in DPA4, which needs 8 MB of memory an atom",
    )
    options = command.parse_args(arguments)
    bench = Bench("scaling", __doc__, options)
    sizes = (96, 192) if options.quick else SIZES
    for name in options.models:
        for atoms in (size for size in sizes if size <= options.up_to):
            sides = SIDES if atoms <= options.builtin_up_to else (OURS,)
            bench.compare("energy and forces", name, systems.water(atoms), sides)
        bench.extra.setdefault("flatness", {})[name] = flatness(bench, name)
    bench.save()
    print("largest over smallest time per atom:", bench.extra["flatness"])


def flatness(bench: Bench, name: str) -> dict[str, float]:
    """Of each side."""
    found = {}
    for side in SIDES:
        rows = [row for row in bench.rows if row["model"] == name and side in row["results"]]
        costs = [row["results"][side]["median_s"] / row["atoms"] for row in rows]
        found[side] = max(costs) / min(costs)
    return found


if __name__ == "__main__":
    main()
