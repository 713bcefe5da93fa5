"""Is this package ahead of the built-in DPA4 for other shapes than those of the main benchmarks?

Degrees 1 to 5 and, at degree 2, molecules of 9 atoms, batches of clusters, dense and dilute boxes and a large one:
energy and forces, and a training step of all but the large box.
"""

import tempfile

import systems
from compare import SIDES, Bench, parser
from systems import Spec

BOX = systems.water(96)
LARGE = systems.water(1536)
SHAPES = [systems.clusters(1, 3), systems.clusters(16, 9), systems.water(96, 0.85), systems.water(96, 1.6), LARGE]
STEPS = ("energy and forces", "training step")


def cases(quick: bool) -> list[tuple[int, list[Spec]]]:
    """Degrees, and the atoms to run at each."""
    if quick:
        return [(1, [systems.clusters(1, 3)])]
    return [(lmax, [BOX, *SHAPES] if lmax == 2 else [BOX]) for lmax in range(1, 6)]


def main(arguments: list[str] | None = None) -> None:
    command = parser(__doc__)
    command.set_defaults(models=["mini"], repeats=3)
    options = command.parse_args(arguments)
    bench = Bench("shapes", __doc__, options)
    for name in options.models:
        for lmax, specs in cases(options.quick):
            measure(bench, name, lmax, specs)
    ahead = sum(row["ratio"] > 1 for row in bench.rows)
    print(f"ahead in {ahead} of {len(bench.rows)} cases; smallest ratio {min(row['ratio'] for row in bench.rows):.2f}")


def measure(bench: Bench, name: str, lmax: int, specs: list[Spec]) -> None:
    """Both steps of one network on several systems, in one pair of processes: memory is not recorded."""
    with tempfile.TemporaryDirectory() as folder, bench.workers(SIDES) as workers:
        # a dense box has more neighbours than the others
        bench.build(workers, name, folder, lmax=lmax, sel=300)
        for spec in specs:
            for step in STEPS[: 1 if spec == LARGE else 2]:
                results, agreement = bench.alternate(workers, step, spec)
                label = f"{name}, lmax {lmax}"
                bench.add(step, label, systems.describe(spec), systems.count(spec), results, agreement=agreement)


if __name__ == "__main__":
    main()
