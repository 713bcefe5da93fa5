"""Where does the time of an evaluation and of a training step go?

The operators with the largest own time by ``torch.profiler``, as text; with ``--side built-in`` those of the
built-in DPA4.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import systems
from compare import HERE, OURS, SIDES, Bench, parser

if TYPE_CHECKING:
    from worker import Worker

STEPS = ("energy and forces", "training step")
COLUMNS = 60


def main(arguments: list[str] | None = None) -> None:
    command = parser(__doc__)
    command.set_defaults(models=["mini"], repeats=3)
    command.add_argument("--side", choices=SIDES, default=OURS)
    command.add_argument("--atoms", type=int, default=192, help="a multiple of 96")
    command.add_argument("--rows", type=int, default=20, help="operators to show")
    options = command.parse_args(arguments)
    bench = Bench("profile_step", __doc__, options)
    spec = systems.water(systems.CELL_ATOMS if options.quick else options.atoms)
    parts = []
    for name in options.models:
        with tempfile.TemporaryDirectory() as folder, bench.workers([options.side]) as workers:
            bench.build(workers, name, folder)
            worker = workers[options.side]
            worker.ask(do="system", spec=spec)
            for step in STEPS:
                sizes = {"repeats": options.repeats, "rows": options.rows}
                found = worker.ask(do="call", function="profile_step:table", step=step, **sizes)
                parts.append(f"{options.side}, {step}, {name}, {systems.describe(spec)}\n{found}")
    text = "\n".join(f"{key}: {value}" for key, value in bench.machine.items()) + "\n\n" + "\n\n".join(parts) + "\n"
    print(text)
    save(bench, text)


def table(worker: Worker, step: str, repeats: int, rows: int) -> str:
    """Operators by their own time, and the time of a step without the profiler; runs in the worker."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    cuda = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    worker.run(step)
    seconds = min(worker.run(step)["seconds"] for _ in range(repeats))
    with profile(activities=activities, acc_events=True) as found:
        for _ in range(repeats):
            worker.step(step)
    key = "self_cuda_time_total" if cuda else "self_cpu_time_total"
    averages = found.key_averages().table(sort_by=key, row_limit=rows, max_name_column_width=COLUMNS)
    return f"{seconds:.4f} s without the profiler, the smallest of {repeats}; below: sums of {repeats} runs\n{averages}"


def save(bench: Bench, text: str) -> None:
    """Beside the other results."""
    options = bench.options
    if options.quick and options.results is None:
        return
    folder = options.results or HERE / "results"
    folder.mkdir(parents=True, exist_ok=True)
    side = "" if options.side == OURS else f"_{options.side}"
    (folder / f"profile_step_{options.device}{side}.txt").write_text(text)


if __name__ == "__main__":
    main()
