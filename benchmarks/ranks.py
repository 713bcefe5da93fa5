"""How much faster is LAMMPS on several ranks, and on several threads?

Constant energy, steps of 0.5 fs, water at 300 K. Each row compares ``--ranks`` ranks of one thread, or one rank of as
many threads, with one rank of one thread; the ratio over their number is the efficiency.
"""

import tempfile
from pathlib import Path
from typing import Any

from commands import needed, seconds_per_step
from compare import OURS, Bench, Process, parser, run_process, summary, take_turns
from lammps_step import frozen, script

ATOMS = (1536, 6144)
ONE = "1 rank, 1 thread"


def main(arguments: list[str] | None = None) -> None:
    command = parser(__doc__)
    command.set_defaults(models=["mini"], repeats=3)
    command.add_argument("--ranks", type=int, default=2)
    options = command.parse_args(arguments)
    bench = Bench("ranks", __doc__, options)
    for model in options.models:
        with tempfile.TemporaryDirectory() as name, bench.workers([OURS]) as workers:
            for kind, path in frozen(bench, model, Path(name)).items():
                for atoms in (96,) if options.quick else ATOMS:
                    measure(bench, f"{model}, {kind}", path, atoms, Path(name), workers[OURS])


def measure(bench: Bench, model: str, path: Path, atoms: int, folder: Path, clock: Process) -> None:
    """Two rows: ranks, and threads."""
    number = bench.options.ranks
    hows = {
        f"{number} ranks, 1 thread each": (number, 1),
        f"1 rank, {number} threads": (1, number),
        ONE: (1, 1),
    }

    def simulate(ranks: int, threads: int) -> dict[str, Any]:
        speed = clock.ask(do="yardstick")
        (folder / "in.lmp").write_text(script(path, atoms))
        environment = bench.environment(OURS) | {"OMP_NUM_THREADS": str(threads)}
        start = [needed("mpiexec"), "-n", str(ranks)] if ranks > 1 else []
        finished = run_process([*start, needed("lmp"), "-in", "in.lmp", "-log", "none"], folder, environment)
        return {"seconds": seconds_per_step(finished.output)} | speed

    turns = {name: lambda how=how: simulate(*how) for name, how in hows.items()}
    runs = take_turns(turns, bench.options.repeats)
    found = {name: summary(times) for name, times in runs.items()}
    one = found.pop(ONE)
    for name, result in found.items():
        bench.add(name, model, f"{atoms:,} water atoms", atoms, {"several": result, "one": one})


if __name__ == "__main__":
    main()
