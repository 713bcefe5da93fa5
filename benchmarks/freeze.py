"""How long does freezing take?

Wall time of ``dp --pt freeze``, from a checkpoint of one training step: ours to the portable ``.pth``, the
built-in DPA4 to its only format, the compiled ``.pt2`` (about ten minutes on two cores, hence only with ``--builtin``).
The peak of memory is that of ``dp`` itself, without the compilers it starts.
"""

import shutil
import tempfile
from pathlib import Path

from commands import checkpoint, dp, freeze_native
from compare import BUILTIN, OURS, Bench, Finished, Process, parser, summary


def main(arguments: list[str] | None = None) -> None:
    command = parser(__doc__)
    command.set_defaults(models=["mini"], repeats=3)
    command.add_argument("--builtin", action="store_true", help="the built-in DPA4 too, once")
    command.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the frozen files, for lammps_step.py")
    options = command.parse_args(arguments)
    bench = Bench("freeze", __doc__, options)
    for model in options.models:
        with tempfile.TemporaryDirectory() as name, bench.workers([OURS]) as workers:
            folder = Path(name)
            saved = checkpoint(bench, model, folder)
            measure(bench, model, saved, folder, workers[OURS])
            if options.keep:
                keep(folder, options.keep)


def measure(bench: Bench, model: str, saved: Path, folder: Path, clock: Process) -> None:
    """A row for the portable file, the built-in DPA4 beside it, and one for the file with native operators."""
    runs = [freeze(bench, OURS, saved, folder / f"{model}.pth", clock) for _ in range(bench.options.repeats)]
    results = {OURS: collect(runs)}
    if bench.options.builtin:
        results[BUILTIN] = collect([freeze(bench, BUILTIN, saved, folder / f"{model}.pt2", clock)])
    bench.add("freeze", model, "", 0, results, note="ours .pth, built-in .pt2")
    output = folder / f"{model}_native.pth"
    # the first time on a machine also compiles the kernels
    if freeze_native(bench, saved, output) is None:
        return
    speed = clock.ask(do="yardstick")
    natives = [freeze_native(bench, saved, output) for _ in range(bench.options.repeats)]
    bench.add("freeze, native kernels", model, "", 0, {OURS: collect([(run, speed) for run in natives if run])})


def freeze(bench: Bench, side: str, saved: Path, output: Path, clock: Process) -> tuple[Finished, dict[str, float]]:
    """The finished command and the yardstick before it."""
    speed = clock.ask(do="yardstick")
    return dp(bench, side, "freeze", "-c", saved, "-o", output, folder=output.parent), speed


def collect(runs: list[tuple[Finished, dict[str, float]]]) -> dict[str, float]:
    """Times of whole commands."""
    found = summary([{"seconds": finished.seconds} | speed for finished, speed in runs])
    return found | {"peak_mb": max(finished.peak_mb for finished, _ in runs)}


def keep(folder: Path, target: Path) -> None:
    """Copy the frozen files."""
    target.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.pt[h2]"):
        shutil.copy(path, target)


if __name__ == "__main__":
    main()
