"""How long does a batch of `dp --pt train` take, and the first step of a compiled training?

Real ``dp`` processes taking turns, input as in ``examples/water/train.json``, batches of one frame of 192 water atoms.
Time per batch as logged: data, network, optimiser and running average; without validation. The first step is timed
from the start of the process, so it includes imports and statistics of the data.
"""

import tempfile
from pathlib import Path

import systems
from commands import dp, seconds_per_batch, write_input
from compare import BUILTIN, OURS, SIDES, Bench, Process, parser, summary, take_turns

FRAMES = 8
INTERVAL = 5
INTERVALS = 4


def main(arguments: list[str] | None = None) -> None:
    command = parser(__doc__)
    command.set_defaults(models=["mini"], repeats=2)
    command.add_argument("--atoms", type=int, default=192, help="a multiple of 96")
    command.add_argument(
        "--builtin-compile",
        action="store_true",
        help="the first compiled step of the built-in DPA4 too (13 minutes on 2 cores)",
    )
    options = command.parse_args(arguments)
    bench = Bench("dp_train", __doc__, options)
    atoms = systems.CELL_ATOMS if options.quick else options.atoms
    with tempfile.TemporaryDirectory() as name, bench.workers([OURS]) as workers:
        folder = Path(name)
        systems.write_data(folder / "data", atoms, FRAMES)
        for model in options.models:
            measure_batches(bench, model, atoms, folder, workers[OURS])
            measure_first_step(bench, model, atoms, folder, workers[OURS])


def measure_batches(bench: Bench, model: str, atoms: int, folder: Path, clock: Process) -> None:
    """Median over the logged intervals of all trainings of a side."""
    interval, steps = (1, 2) if bench.options.quick else (INTERVAL, INTERVAL * INTERVALS)

    def train(side: str) -> list[dict[str, float]]:
        run = write_input(bench, side, model, folder / "data", folder / side, steps, interval)
        speed = clock.ask(do="yardstick")
        finished = dp(bench, side, "train", "input.json", folder=run)
        times = seconds_per_batch(finished.output, interval)
        return [{"seconds": seconds, "peak_mb": finished.peak_mb} | speed for seconds in times]

    runs = take_turns({side: lambda side=side: train(side) for side in SIDES}, bench.options.repeats)
    flat = {side: [interval for times in found for interval in times] for side, found in runs.items()}
    results = {
        side: summary(found) | {"peak_mb": max(interval["peak_mb"] for interval in found)}
        for side, found in flat.items()
    }
    bench.add("dp train, per batch", model, f"{atoms:,} water atoms", atoms, results)


def measure_first_step(bench: Bench, model: str, atoms: int, folder: Path, clock: Process) -> None:
    """Seconds from the start of ``dp`` to its first logged batch, with ``use_compile``."""
    options, given = bench.options, list(bench.options.set)
    results = {}
    options.set = [*given, "use_compile=true"]
    for side in [OURS, BUILTIN] if options.builtin_compile else [OURS]:
        run = write_input(bench, side, model, folder / "data", folder / side, 1, 1)
        speed = clock.ask(do="yardstick")
        finished = dp(bench, side, "train", "input.json", folder=run, mark=r"Batch +1:")
        results[side] = summary([{"seconds": finished.marks[0]} | speed]) | {"peak_mb": finished.peak_mb}
    options.set = given
    bench.add("first compiled step", model, f"{atoms:,} water atoms", atoms, results)


if __name__ == "__main__":
    main()
