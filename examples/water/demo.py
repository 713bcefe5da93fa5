"""Train a small DPA4 model on water, test it, freeze it and run it in LAMMPS.

``make demo`` runs this. Everything goes through the commands ``dp`` and ``lmp`` and into the folder ``demo`` next to
this file, which is emptied first. Ends with an error unless the validation force error has fallen at least fivefold
below that of predicting no forces at all.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import NullFormatter

HERE = Path(__file__).resolve().parent
OUT = HERE / "demo"
REQUIRED_REDUCTION = 5.0
MAX_ENERGY_MISMATCH = 1e-4
MAX_ENERGY_CHANGE = 0.5
MD_STEPS = 200
POLL_SECONDS = 0.5
PLAIN_LINE_SECONDS = 15.0
FORCE_UNIT = "eV/Å"
# step, learning rate, and errors of the whole loss, energy, force and virial, of validation and training data each
LCURVE_COLUMNS = 10

console = Console(highlight=False)


class DemoError(Exception):
    """Something a user can read and act on."""


def find_command(name: str) -> str:
    """Path of a command next to the running Python, else of the one on the search path."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise DemoError(f"the command `{name}` was not found; `make demo` installs it, or: pip install -e '.[lmp]'")
    return found


def environment() -> dict[str, str]:
    """Environment of the commands: few threads, which do not spin while they wait."""
    threads = str(min(os.cpu_count() or 1, 2))
    return {"OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "passive", **os.environ}


def run(
    title: str, command: list[str], total: int = 0, progress_of: Callable[[], tuple[int, str]] | None = None
) -> float:
    """Run a command in the output folder behind a progress line and return the seconds it took.

    ``progress_of`` tells how many of ``total`` steps are done, and a note.
    """
    log = OUT / f"{title.split()[0]}.log"
    begin = time.monotonic()
    with log.open("w") as stream, progress_line() as progress:
        process = subprocess.Popen(command, cwd=OUT, stdout=stream, stderr=subprocess.STDOUT, env=environment())
        try:
            follow(process, progress, title, total, progress_of)
        finally:
            process.kill()
            process.wait()
    if process.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise DemoError(
            f"`{Path(command[0]).name}` failed in the step `{title}`:\n{tail}\nThe whole output is in {log}"
        )
    return time.monotonic() - begin


def progress_line() -> Progress:
    """Bar, elapsed and remaining time; nothing where the output is no terminal."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description:<8}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("elapsed,"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        disable=not console.is_terminal,
    )


def follow(
    process: subprocess.Popen,
    progress: Progress,
    title: str,
    total: int,
    progress_of: Callable[[], tuple[int, str]] | None,
) -> None:
    """Update the progress line until the command ends."""
    task = progress.add_task(title, total=total or None, note="")
    last_line = 0.0
    if not console.is_terminal:
        console.print(f"{title} ...")
    while process.poll() is None:
        time.sleep(POLL_SECONDS)
        if progress_of is None:
            continue
        done, note = progress_of()
        if done > progress.tasks[task].completed or not done:
            progress.update(task, completed=done, note=note)
        if console.is_terminal or done >= total or time.monotonic() - last_line < PLAIN_LINE_SECONDS:
            continue
        if done or note:
            last_line = time.monotonic()
        if not done and note:
            console.print(f"  {note}")
        elif done:
            left = progress.tasks[task].time_remaining
            note += f", about {left:.0f} s left" if left else ""
            console.print(f"  {done} of {total} steps, {note}")
    if progress_of is not None and process.returncode == 0:
        progress.update(task, completed=total, note=progress_of()[1])


def prepare() -> int:
    """Empty the output folder and write the input there; return the number of training steps."""
    if os.environ.get("DEEPMD_DPA4") == "builtin":
        raise DemoError("DEEPMD_DPA4=builtin is set, which switches deepmd-dpa4 off; unset it")
    for name in ("train", "valid"):
        if not (HERE / "data" / name / "set.000" / "force.npy").exists():
            raise DemoError(f"the data set {HERE / 'data' / name} is missing; recreate it with generate.py")
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    config = json.loads((HERE / "demo.json").read_text())
    for part in ("training_data", "validation_data"):
        section = config["training"][part]
        section["systems"] = [f"../{system}" for system in section["systems"]]
    (OUT / "input.json").write_text(json.dumps(config, indent=2))
    return config["training"]["numb_steps"]


def learning_curve() -> np.ndarray:
    """Rows of ``lcurve.out`` so far: step, and force errors of validation and training data."""
    path = OUT / "lcurve.out"
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [line.split() for line in lines if not line.startswith("#")]
    # the last line may be half written
    return np.array([[row[0], row[5], row[6]] for row in rows if len(row) == LCURVE_COLUMNS], dtype=float).reshape(
        -1, 3
    )


def training_progress() -> tuple[int, str]:
    """Steps done and the latest validation error; before the first step how far the compilation of kernels is."""
    curve = learning_curve()
    return (int(curve[-1, 0]), f"force error {curve[-1, 1]:.3f} {FORCE_UNIT}") if len(curve) else (0, compilation())


def compilation() -> str:
    """What the log of the training says last of the compilation of native kernels, if that is where it is."""
    path = OUT / "train.log"
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    found = re.search(r"\b(compil(?:ing|ed) .*)", lines[-1]) if lines else None
    return found[1][:100] if found else ""


def thermo() -> np.ndarray:
    """Rows of LAMMPS output so far: step, temperature, potential, kinetic and total energy, pressure."""
    path = OUT / "log.lammps"
    lines = path.read_text().split("\n") if path.exists() else []
    begin = next((i + 1 for i, line in enumerate(lines) if line.split()[:1] == ["Step"]), len(lines))
    rows = []
    for line in lines[begin:-1]:
        if line.startswith("Loop time"):
            break
        rows.append(line.split())
    return np.array([row for row in rows if len(row) == 6], dtype=float).reshape(-1, 6)


def md_progress() -> tuple[int, str]:
    """Steps done and the temperature."""
    rows = thermo()
    return (int(rows[-1, 0]), f"{rows[-1, 1]:.0f} K") if len(rows) else (0, "")


def train(steps: int) -> float:
    """Train; make sure that this package built the model."""
    seconds = run("train", [find_command("dp"), "--pt", "train", "input.json"], steps, training_progress)
    if "built by deepmd-dpa4" not in (OUT / "train.log").read_text(errors="replace"):
        raise DemoError("the model was not built by deepmd-dpa4; is the package installed? `make venv` installs it")
    return seconds


def test_and_freeze() -> float:
    """Predict the validation data and write ``model.pth``."""
    dp = find_command("dp")
    test = [dp, "--pt", "test", "-m", "model.ckpt.pt", "-s", "../data/valid", "-d", "detail"]
    return run("test", test) + run("freeze", [dp, "--pt", "freeze", "-o", "model.pth"])


def simulate() -> float:
    """Run LAMMPS at constant energy."""
    variables = ["-var", "model", "model.pth", "-var", "data", "../lmp/water.lmp", "-var", "steps", str(MD_STEPS)]
    command = [find_command("lmp"), "-in", "../lmp/in.lammps", *variables]
    return run("lammps", command, MD_STEPS, md_progress)


def rms(values: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(values**2)))


def details(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions that ``dp test`` wrote, one row for each frame or atom."""
    path = next((p for p in (OUT / f"detail.{kind}.out", OUT / f"detail.{kind}_peratom.out") if p.exists()), None)
    if path is None:
        raise DemoError(f"`dp test` wrote no detail.{kind}.out; its output is in {OUT / 'test.log'}")
    table = np.loadtxt(path, ndmin=2)
    half = table.shape[1] // 2
    return table[:, :half], table[:, half:]


def draw_learning_curve(zero: float) -> Path:
    """Force error against training steps."""
    curve = learning_curve()
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    axes.plot(curve[:, 0], curve[:, 2], color="0.7", label="training batch")
    axes.plot(curve[:, 0], curve[:, 1], color="C0", label="validation batches")
    axes.axhline(zero, color="k", linestyle=":", label="predicting no forces")
    axes.axhline(zero / REQUIRED_REDUCTION, color="C3", linestyle="--", label="required: a fifth of that")
    axes.set(xlabel="training step", ylabel=f"force RMSE ({FORCE_UNIT})", yscale="log", xlim=(0, None))
    axes.set_yticks([0.05, 0.1, 0.2, 0.5, 1.0], ["0.05", "0.1", "0.2", "0.5", "1"])
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.legend(frameon=False, loc="upper right", bbox_to_anchor=(1.0, 0.95))
    return save(figure, "learning_curve.png")


def draw_parity(label: np.ndarray, predicted: np.ndarray, error: float) -> Path:
    """Predicted against reference force components."""
    limit = 1.05 * float(np.abs(label).max())
    figure, axes = plt.subplots(figsize=(5.4, 4.4), layout="constrained")
    cells = axes.hexbin(
        label.ravel(), predicted.ravel(), gridsize=80, bins="log", mincnt=1, extent=(-limit, limit, -limit, limit)
    )
    axes.plot([-limit, limit], [-limit, limit], color="k", linewidth=0.8)
    axes.set(
        xlabel=f"GFN1-xTB force component ({FORCE_UNIT})",
        ylabel=f"DPA4 force component ({FORCE_UNIT})",
        title=f"validation data, RMSE {error:.3f} {FORCE_UNIT}",
        aspect="equal",
    )
    figure.colorbar(cells, label="components per cell")
    return save(figure, "parity.png")


def save(figure: plt.Figure, name: str) -> Path:
    """Write a picture into the output folder."""
    path = OUT / name
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path


def report(seconds: dict[str, float]) -> None:
    """Draw, print what was reached, and raise if it is not enough."""
    label, predicted = details("f")
    energy_label, energy_predicted = details("e")
    rows = thermo()
    if len(rows) == 0 or rows[-1, 0] != MD_STEPS:
        raise DemoError(f"LAMMPS did not finish {MD_STEPS} steps; its output is in {OUT / 'lammps.log'}")
    atoms = len(label) // len(energy_label)
    zero, error = rms(label), rms(predicted - label)
    mismatch = abs(rows[0, 2] - energy_predicted[0, 0]) / atoms
    change = 1000 * float(np.abs(rows[:, 4] - rows[0, 4]).max()) / atoms
    swing = 1000 * float(np.ptp(rows[:, 3])) / atoms
    table = Table(show_header=False, title="DPA4 on water", title_justify="left")
    table.add_row("force RMSE, validation", f"{error:.4f} {FORCE_UNIT}")
    table.add_row("force RMSE of predicting zero", f"{zero:.4f} {FORCE_UNIT}, {zero / error:.1f} times more")
    table.add_row("energy RMSE, validation", f"{1000 * rms(energy_predicted - energy_label) / atoms:.3f} meV/atom")
    table.add_row("energy in LAMMPS - in dp test", f"{mismatch:.1e} eV/atom")
    table.add_row(f"total energy change, {MD_STEPS} steps", f"{change:.3f} meV/atom (kinetic energy: {swing:.1f})")
    table.add_row("time", ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items()))
    table.add_row("learning curve", str(draw_learning_curve(zero)))
    table.add_row("parity of forces", str(draw_parity(label, predicted, error)))
    Console(width=max(console.width, 120), highlight=False).print(table)
    check(zero / error, mismatch, change)


def check(reduction: float, mismatch: float, change: float) -> None:
    """Raise if a result is not good enough."""
    if reduction < REQUIRED_REDUCTION:
        raise DemoError(f"the force error fell only {reduction:.1f}-fold, {REQUIRED_REDUCTION:.0f}-fold was expected")
    if mismatch > MAX_ENERGY_MISMATCH:
        raise DemoError(f"LAMMPS and dp test disagree by {mismatch:.1e} eV/atom on the same frame")
    if change > MAX_ENERGY_CHANGE:
        raise DemoError(f"the total energy changed by {change:.2f} meV/atom in {MD_STEPS} steps of LAMMPS")


def main() -> int:
    """Run all steps."""
    try:
        steps = prepare()
        report({"train": train(steps), "test and freeze": test_and_freeze(), "LAMMPS": simulate()})
    except DemoError as error:
        # no markup: the text quotes the output of commands
        console.print(f"demo failed: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    console.print("demo passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
