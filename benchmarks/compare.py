"""What the benchmarks share: options, processes that take turns, peak memory, and rows of results."""

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import systems
from systems import Spec

HERE = Path(__file__).resolve().parent
OURS, BUILTIN = "deepmd-dpa4", "built-in"
SIDES = (OURS, BUILTIN)
FEWEST = 3
"""Repeats that are made however long they take."""
PATIENCE = 60.0
"""Seconds after which no more than the fewest repeats are made."""
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "10000000000",
    "MALLOC_TRIM_THRESHOLD_": "20000000000",
    "MALLOC_TOP_PAD_": "268435456",
}
"""Settings of the C library's allocator (docs/performance.md)."""

Row = dict[str, Any]


def running(side: str) -> dict[str, str]:
    """Environment of a process in which one implementation runs."""
    return {**os.environ, "DEEPMD_DPA4": "builtin" if side == BUILTIN else ""}


class BenchmarkError(Exception):
    """Something a user can read and act on."""


class Process:
    """The other end of :mod:`worker`."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed together with the process)
        self.process = subprocess.Popen(
            [sys.executable, HERE / "worker.py"],
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
        )

    def ask(self, **order: Any) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        with suppress(BrokenPipeError):
            print(json.dumps(order), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            tail = self.errors.read().decode(errors="replace").splitlines()[-20:]
            code = self.process.wait()
            hint = "; it was killed, perhaps for want of memory" if code == -9 else ""
            raise BenchmarkError("\n".join([*tail, f"the worker ended with code {code} on {order['do']}{hint}"]))
        return json.loads(line)

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()


class Finished:
    """A command that ended: what it printed, its seconds, its peak memory in MB, and when each marked line came."""

    def __init__(self, output: str, seconds: float, peak_mb: float, marks: list[float]) -> None:
        self.output, self.seconds, self.peak_mb, self.marks = output, seconds, peak_mb, marks


def run_process(command: Sequence[Any], folder: Path, environment: dict[str, str], mark: str = r"(?!)") -> Finished:
    """Run a command; ``mark`` is a pattern of lines whose time after the start is wanted.

    Raises
    ------
    BenchmarkError
        If it fails, with the end of what it printed.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=folder,
        env=environment,
        text=True,
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    lines, marks = [], []
    for line in process.stdout:
        lines.append(line)
        if re.search(mark, line):
            marks.append(time.perf_counter() - start)
    # the peak of this one child; `getrusage` would give that of all children so far
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    if process.returncode:
        tail = "".join(lines[-20:])
        raise BenchmarkError(f"{tail}`{Path(command[0]).name}` ended with code {process.returncode}")
    return Finished("".join(lines), time.perf_counter() - start, _megabytes(usage), marks)


def _megabytes(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss * (1e-6 if sys.platform == "darwin" else 1.024e-3)


def beside_python(name: str) -> Path | None:
    """A command installed with this interpreter."""
    path = Path(sys.executable).with_name(name)
    return path if path.exists() else None


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Options of every benchmark; ``doc`` is the docstring of the script."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    made.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    made.add_argument("--repeats", type=int, default=5, help=f"{FEWEST} where they take long")
    made.add_argument("--kernels", default="auto", help="model key `kernels` of this package: auto, plain or native")
    made.add_argument("--models", nargs="+", default=["mini", "neo"], metavar="MODEL", help="mini, neo, air")
    made.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="keys of the model section, both sides")
    made.add_argument(
        "--builtin-env", nargs="+", default=[], metavar="NAME=VALUE", help="environment of the built-in DPA4"
    )
    made.add_argument("--allocator", action="store_true", help="allocator settings of docs/performance.md, both sides")
    made.add_argument(
        "--processor-time", action="store_true", help="instead of the clock's: for machines that others use"
    )
    made.add_argument("--quick", action="store_true", help="tiny settings, to see that it works; nothing is recorded")
    made.add_argument("--tag", default="", help="added to the name of the file of results")
    made.add_argument("--results", type=Path, help="folder for the file of results")
    return made


class Bench:
    """Options of one benchmark, its rows, and where they go.

    The file is written after every row, so that an interruption loses little.

    Parameters
    ----------
    name : str
        Of the script.
    doc : str
        Its docstring, whose first line is the question.
    options : argparse.Namespace
        From :func:`parser`.
    """

    def __init__(self, name: str, doc: str | None, options: argparse.Namespace) -> None:
        self.name, self.question, self.options = name, (doc or "").split("\n")[0], options
        self.rows: list[Row] = []
        self.extra: dict[str, Any] = {}
        self.machine: dict[str, Any] = {}
        if options.quick:
            options.models, options.repeats = ["tiny"], 1

    @property
    def atom_counts(self) -> tuple[int, ...]:
        """Boxes that most benchmarks run."""
        return (96,) if self.options.quick else (192, 1536)

    def environment(self, side: str) -> dict[str, str]:
        """Environment of the processes of one side."""
        options = self.options
        found = {**running(side), "OMP_NUM_THREADS": str(options.threads)}
        if options.device == "cpu":
            found["CUDA_VISIBLE_DEVICES"] = ""
        if options.allocator:
            found |= ALLOCATOR
        if side == BUILTIN:
            found |= dict(pair.split("=", 1) for pair in options.builtin_env)
        return found

    def model(self, name: str, side: str, **changes: Any) -> dict[str, Any]:
        """``model`` section of one side; ``changes`` are descriptor options."""
        params = systems.network(name)
        params["descriptor"] |= changes
        for pair in self.options.set:
            key, value = pair.split("=", 1)
            _assign(params, key, value)
        # the default needs no mention, and the built-in DPA4 does not know the key
        if side == OURS and self.options.kernels != "auto":
            params["kernels"] = self.options.kernels
        return params

    @contextmanager
    def workers(self, sides: Sequence[str]) -> Iterator[dict[str, Process]]:
        """A process of each side, started together."""
        with ExitStack() as stack:
            found = {}
            for side in sides:
                found[side] = Process(self.environment(side))
                stack.callback(found[side].close)
            for process in found.values():
                self._remember(process.ask(do="machine"))
                if self.options.processor_time:
                    process.ask(do="processor_time")
            yield found

    def _remember(self, machine: dict[str, Any]) -> None:
        if self.options.device == "cuda" and machine["gpu"] is None:
            raise BenchmarkError("`--device` is cuda but torch finds no such device")
        self.machine = machine

    def compare(
        self,
        step: str,
        name: str,
        spec: Spec,
        sides: Sequence[str] = SIDES,
        quantity: str = "",
        **changes: Any,
    ) -> Row:
        """Time one step of a network on some atoms in fresh processes, whose peak memory is that of this step.

        The row is named after the step, or ``quantity``.
        """
        with tempfile.TemporaryDirectory() as folder, self.workers(sides) as workers:
            baseline = self.build(workers, name, folder, **changes)
            results, agreement = self.alternate(workers, step, spec)
            for side, worker in workers.items():
                results[side] |= baseline[side] | {"peak_mb": worker.ask(do="memory")["peak_mb"]}
        return self.add(
            quantity or step, name, systems.describe(spec), systems.count(spec), results, agreement=agreement
        )

    def build(self, workers: dict[str, Process], name: str, folder: str, **changes: Any) -> dict[str, Any]:
        """Build the network on each side with the same weights."""
        weights = str(Path(folder) / "weights.pt")
        return {
            side: worker.ask(do="build", side=side, params=self.model(name, side, **changes), weights=weights)
            for side, worker in workers.items()
        }

    def alternate(
        self, workers: dict[str, Process], step: str, spec: Spec
    ) -> tuple[dict[str, dict[str, Any]], dict[str, float] | None]:
        """Times of each side and how far energies and forces of the first run lie apart."""
        for worker in workers.values():
            worker.ask(do="system", spec=spec)
        first = (
            {} if self.options.quick else {side: worker.ask(do="run", step=step) for side, worker in workers.items()}
        )
        runs = take_turns(
            {side: lambda worker=worker: worker.ask(do="run", step=step) for side, worker in workers.items()},
            self.options.repeats,
        )
        first = first or {side: found[0] for side, found in runs.items()}
        return {side: summary(found) for side, found in runs.items()}, difference(first)

    def add(self, quantity: str, model: str, system: str, atoms: int, results: dict[str, dict], **extra: Any) -> Row:
        """Keep, print and write a row; ``results`` of the side under test comes first, of its yardstick second."""
        row = {"quantity": quantity, "model": model, "system": system, "atoms": atoms, "results": results} | extra
        row["ratio"] = ratio(results)
        self.rows.append(row)
        print(render(row), flush=True)
        self.save()
        return row

    def save(self) -> None:
        """Write what there is."""
        options = self.options
        if options.results is None and options.quick:
            return
        folder = options.results or HERE / "results"
        folder.mkdir(parents=True, exist_ok=True)
        tag = f"_{options.tag}" if options.tag else ""
        record = {
            "question": self.question,
            "device": options.device,
            "machine": self.machine,
            "settings": {
                "kernels": options.kernels,
                "set": options.set,
                "built-in environment": options.builtin_env,
                "processor time": options.processor_time,
                "allocator": {k: v for k, v in self.environment(OURS).items() if k.startswith("MALLOC_")},
            },
            **self.extra,
            "rows": self.rows,
        }
        (folder / f"{self.name}_{options.device}{tag}.json").write_text(json.dumps(record, indent=2) + "\n")


def take_turns(candidates: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[Any]]:
    """Run each candidate in turn; what each returned.

    Stops early, with three repeats, where they take long.
    """
    found: dict[str, list[Any]] = {name: [] for name in candidates}
    start = time.perf_counter()
    for repeat in range(repeats):
        if repeat >= FEWEST and time.perf_counter() - start > PATIENCE:
            break
        for name, run in candidates.items():
            found[name].append(run())
    return found


def summary(runs: list[dict[str, float]]) -> dict[str, Any]:
    """Median, spread and yardstick of runs that hold ``seconds`` and ``yardstick_gflops``."""
    seconds = [run["seconds"] for run in runs]
    return {
        "median_s": statistics.median(seconds),
        "min_s": min(seconds),
        "max_s": max(seconds),
        "repeats": len(seconds),
        "yardstick_gflops": statistics.median(run["yardstick_gflops"] for run in runs),
    }


def difference(first: dict[str, dict[str, float]]) -> dict[str, float] | None:
    """Relative differences of energy and root mean square force between two sides."""
    if len(first) != 2:
        return None
    ours, theirs = first.values()
    return {key: abs(ours[key] - theirs[key]) / max(abs(theirs[key]), 1e-12) for key in ("energy", "force")}


def ratio(results: dict[str, dict], key: str = "median_s") -> float | None:
    """Second over first."""
    values = [result.get(key) for result in results.values()]
    return values[1] / values[0] if len(values) == 2 and values[0] and values[1] else None


def render(row: Row) -> str:
    """One line for the terminal."""
    parts = [f"{row['quantity']:<22s} {row['model']:<5s} {row['system']:<32s}"]
    for side, result in row["results"].items():
        text = f"{side} {result['median_s']:.4g} s ({result['min_s']:.4g}-{result['max_s']:.4g})"
        if result.get("peak_mb"):
            text += f" {result['peak_mb']:.0f} MB"
        parts.append(text + f" [{result['yardstick_gflops']:.0f} GFLOP/s]")
    if row["ratio"]:
        parts.append(f"ratio {row['ratio']:.2f}")
    return "  ".join(parts)


def _assign(params: dict[str, Any], key: str, value: str) -> None:
    """``a/b=value`` with the value as JSON where it is."""
    *groups, last = key.split("/")
    for group in groups:
        params = params.setdefault(group, {})
    try:
        params[last] = json.loads(value)
    except json.JSONDecodeError:
        params[last] = value
