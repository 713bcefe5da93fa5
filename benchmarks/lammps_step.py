"""How long does a step of molecular dynamics take in LAMMPS?

Constant energy, steps of 0.5 fs, water at 300 K, one rank. Ours from the file with native operators, where
``dpa4 freeze`` can make one, from the portable ``.pth`` and with ``--compiled`` from a ``.pt2`` too; the built-in
DPA4 from the compiled ``.pt2`` named by ``--builtin-file``, which `freeze.py --builtin --keep FOLDER` makes in some
minutes.
"""

import tempfile
from pathlib import Path
from typing import Any

import systems
from commands import checkpoint, dp, freeze_native, needed, seconds_per_step
from compare import BUILTIN, OURS, Bench, BenchmarkError, Process, parser, run_process, summary, take_turns

SCRIPT = """
units metal
atom_style atomic
# compiled files of the built-in DPA4 need the map
atom_modify map yes
boundary p p p
read_data {data}
replicate {copies}
pair_style deepmd {model}
pair_coeff * * O H
velocity all create 300 4711 mom yes
timestep 0.0005
fix 1 all nve
thermo 1000
run {warmup}
run {steps}
"""
WARMUP = 3
"""Steps in which TorchScript optimises the file and memory is first touched."""
STEPS = {96: 2, 192: 20, 1536: 3, 6144: 2}


def main(arguments: list[str] | None = None) -> None:
    command = parser(__doc__)
    command.set_defaults(models=["mini"], repeats=3)
    command.add_argument("--builtin-file", type=Path, help="frozen by the built-in DPA4, from the same network")
    command.add_argument("--compiled", action="store_true", help="our .pt2 file too, which takes minutes to make")
    options = command.parse_args(arguments)
    if options.builtin_file and len(options.models) > 1:
        command.error("`--builtin-file` belongs to one network; give one of `--models`")
    if options.builtin_file and not options.builtin_file.exists():
        raise BenchmarkError(f"`--builtin-file` is {options.builtin_file}, which does not exist")
    bench = Bench("lammps_step", __doc__, options)
    for model in options.models:
        with tempfile.TemporaryDirectory() as name, bench.workers([OURS]) as workers:
            files = frozen(bench, model, Path(name), options.compiled)
            if options.builtin_file:
                files[BUILTIN] = options.builtin_file.resolve()
            for atoms in bench.atom_counts:
                measure(bench, model, atoms, files, Path(name), workers[OURS])


def frozen(bench: Bench, model: str, folder: Path, compiled: bool = False) -> dict[str, Path]:
    """Our file of each kind that can be made."""
    saved = checkpoint(bench, model, folder)
    files = {"portable": folder / "portable.pth", "native": folder / "native.pth"}
    dp(bench, OURS, "freeze", "-c", saved, "-o", files["portable"], folder=folder)
    freeze_native(bench, saved, files["native"])
    if compiled:
        files["compiled"] = folder / "compiled.pt2"
        dp(bench, OURS, "freeze", "-c", saved, "-o", files["compiled"], folder=folder)
    return {kind: path for kind, path in files.items() if path.exists()}


def measure(bench: Bench, model: str, atoms: int, files: dict[str, Path], folder: Path, clock: Process) -> None:
    """All files in turn; a row for each of ours, with the built-in DPA4 beside it."""

    def simulate(kind: str) -> dict[str, Any]:
        speed = clock.ask(do="yardstick")
        text = script(files[kind], atoms)
        (folder / "in.lmp").write_text(text)
        environment = bench.environment(BUILTIN if kind == BUILTIN else OURS)
        finished = run_process([needed("lmp"), "-in", "in.lmp", "-log", "none"], folder, environment)
        return {"seconds": seconds_per_step(finished.output), "peak_mb": finished.peak_mb} | speed

    runs = take_turns({kind: lambda kind=kind: simulate(kind) for kind in files}, bench.options.repeats)
    found = {kind: summary(times) | {"peak_mb": max(time["peak_mb"] for time in times)} for kind, times in runs.items()}
    theirs = {BUILTIN: found.pop(BUILTIN)} if BUILTIN in found else {}
    for kind, result in found.items():
        bench.add(f"LAMMPS step, {kind}", model, f"{atoms:,} water atoms", atoms, {OURS: result} | theirs)


def script(model: Path, atoms: int) -> str:
    """Input of LAMMPS."""
    return SCRIPT.format(
        data=systems.WATER / "lmp" / "water.lmp",
        copies=" ".join(map(str, systems.copies(atoms))),
        model=model,
        warmup=WARMUP,
        steps=STEPS[atoms],
    )


if __name__ == "__main__":
    main()
