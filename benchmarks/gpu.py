"""How right, how fast and how lean is the network on a graphics card?

Needs torch, triton, numpy, scipy and this checkout, and DeePMD-kit for the built-in DPA4 beside it. First every way to
run the network (eager, compiled, mixed precision, operators for cards) is checked against double precision on the CPU;
then training steps and evaluations are timed, with memory and the time to the first step. Parts run in processes of
their own, whose rows are kept as soon as they are there; after ``--minutes`` everything ends.

    python -m benchmarks.gpu
"""

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
MINUTES = 7.7
"""Of the whole run, so that it ends within eight."""
NETWORKS = ("mini", "neo", "nano", "air", "plus")
TRAINING, EVALUATION, MIXED = [400, 3200], [4096], [400, 96, 256, 1000, 640, 2000]
BUILTIN = {
    "training, compiled": ("training step", ["use_compile=true", "descriptor/use_amp=true"], {}),
    "evaluation": ("energy and forces", [], {}),
    "evaluation, compiled": ("energy and forces", [], {"DP_COMPILE_INFER": "1"}),
    "evaluation, Triton": ("energy and forces", [], {"DP_COMPILE_INFER": "1", "DP_TRITON_INFER": "2"}),
    "evaluation, CuTe": ("energy and forces", [], {"DP_COMPILE_INFER": "1", "DP_CUTE_INFER": "1"}),
}
"""Steps of the built-in DPA4, keys of its ``model`` section, and its environment."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """What one process does: a kind of rows, for one network."""

    kind: str
    network: str = ""
    variant: str = ""
    most_s: float = 150.0

    @property
    def name(self) -> str:
        """For the log."""
        return " ".join(word for word in (self.kind, self.network, self.variant) if word)


def parts(networks: list[str], quick: bool) -> list[Part]:
    """All parts, the most telling first."""
    first, *others = networks
    found = [Part("machine", most_s=60.0), Part("correctness", first), Part("training", first)]
    found += [Part("evaluation", first), Part("mixed sizes", first)]
    if not quick and importlib.util.find_spec("deepmd") is not None:
        found += [Part("built-in", first, variant, 90.0) for variant in BUILTIN]
    for network in others:
        found += [Part(kind, network) for kind in ("training", "evaluation", "correctness")]
    return found


class Record:
    """Rows in a file, which is whole at any moment."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, row: Row) -> None:
        """Keep a row."""
        rows = self.rows()
        rows.append(row)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=self.path.parent, suffix=".json", delete=False) as file:
            json.dump({"question": (__doc__ or "").split("\n")[0], "rows": rows}, file, indent=1)
        Path(file.name).replace(self.path)

    def rows(self) -> list[Row]:
        """All rows so far."""
        return json.loads(self.path.read_text())["rows"] if self.path.exists() else []


def run_all(options: argparse.Namespace, record: Record) -> None:
    """Run the parts one after the other until the time is over."""
    deadline = time.monotonic() + 60 * options.minutes
    for part in parts(options.networks, options.quick):
        left = min(part.most_s, deadline - time.monotonic())
        if left < 5:
            record.add({"kind": "not run", "part": part.name, "why": f"{options.minutes} minutes were over"})
            continue
        print(f"{part.name}: at most {left:.0f} s", file=sys.stderr, flush=True)
        reason = run_part(part, options, left)
        if reason:
            record.add({"kind": "ended", "part": part.name, "why": reason})


def run_part(part: Part, options: argparse.Namespace, seconds: float) -> str:
    """Run one part in a process group of its own; tell why it ended early, if it did."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", options.device, "--results", options.results]
    command += ["--part", part.kind, part.network, part.variant] + ["--quick"] * options.quick
    environment = {**os.environ, **BUILTIN.get(part.variant, ("", [], {}))[2]}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [str(word) for word in command], cwd=ROOT, env=environment, stderr=errors, start_new_session=True
        )
        try:
            code = process.wait(seconds)
            reason = f"exit code {code}"
        except subprocess.TimeoutExpired:
            code, reason = -1, f"stopped after {seconds:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        errors.seek(0)
        lines = [line for line in errors.read().splitlines() if line.strip()]
    return "" if code == 0 else f"{reason}: {lines[-1] if lines else 'nothing was said'}"


def rows_of(part: Part, device_name: str, quick: bool) -> Iterator[Row]:
    """The rows of one part; in its own process."""
    import torch

    from benchmarks import gpu_steps

    device = torch.device(device_name)
    chosen = gpu_steps.ways(device)
    training, evaluation, mixed = ([16], [16], [16, 24]) if quick else (TRAINING, EVALUATION, MIXED)
    if part.kind == "machine":
        yield machine(device)
        yield gpu_steps.yardstick(device)
    elif part.kind == "correctness":
        yield from gpu_steps.check(part.network, device, 8 if quick else 32, chosen)
    elif part.kind == "mixed sizes":
        yield from gpu_steps.mixed_sizes(part.network, device, mixed)
    elif part.kind == "built-in":
        yield from builtin(part, device_name)
    else:
        # the first way to be timed should not be the one that a card is not bought for
        ordered = sorted(chosen, key=lambda way: (not way.compiled, way.precision != "bfloat16"))
        yield from gpu_steps.measure(
            part.network, device, part.kind, training if part.kind == "training" else evaluation, ordered
        )


def machine(device: Any) -> Row:
    """Hardware and versions."""
    import torch

    row: Row = {"kind": "machine", "python": platform.python_version(), "torch": torch.__version__}
    with contextlib.suppress(ImportError):
        import triton

        row["triton"] = triton.__version__
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        row |= {"card": properties.name, "capability": list(torch.cuda.get_device_capability(device))}
        row |= {"memory_gib": properties.total_memory / 2**30, "processors": properties.multi_processor_count}
        row["cuda"] = torch.version.cuda
    else:
        row["card"] = None
    return row


def builtin(part: Part, device_name: str) -> Iterator[Row]:
    """The built-in DPA4, by the worker of the other benchmarks in this process."""
    sys.path.insert(0, str(HERE))
    import compare
    import systems
    from worker import Worker

    step, settings, environment = BUILTIN[part.variant]
    arguments = ["--device", device_name, "--set", *settings] if settings else ["--device", device_name]
    bench = compare.Bench("gpu", __doc__, compare.parser("").parse_args(arguments))
    worker = Worker()
    with tempfile.TemporaryDirectory() as folder:
        params = bench.model(part.network, compare.BUILTIN)
        worker.build(compare.BUILTIN, params, str(Path(folder) / "weights.pt"))
    import torch

    from benchmarks.gpu_steps import timed

    for atoms in TRAINING if step == "training step" else EVALUATION:
        worker.system(systems.diamond(atoms))
        row: Row = {"kind": part.kind, "network": part.network, "atoms": atoms, "way": part.variant}
        found = timed(partial(worker.step, step), torch.device(device_name))
        yield row | {"environment": environment} | found


def summary(rows: list[Row]) -> str:
    """A line for each row."""
    lines = []
    for row in rows:
        head = f"{row['kind']:<12s} {row.get('network', row.get('part', '')):<6s} {row.get('atoms', '')!s:<8s}"
        text = f"{head} {row.get('way', '')}"
        if "median_s" in row:
            text += f"  {1e3 * row['median_s']:.1f} ms (first {row['first_s']:.1f} s)"
            text += f"  {row['peak_mib'] / 1024:.2f} GiB" if "peak_mib" in row else ""
        elif "errors" in row:
            text += f"  {'right' if row['passed'] else 'WRONG'}  " + ", ".join(
                f"{name} {error:.1e}" for name, error in row["errors"].items()
            )
        else:
            skipped = ("kind", "network", "part", "atoms", "way")
            text += "  " + ", ".join(f"{key} {value}" for key, value in row.items() if key not in skipped)
        lines.append(text)
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    command.add_argument("--networks", nargs="+", default=list(NETWORKS), metavar="NETWORK")
    command.add_argument("--minutes", type=float, default=MINUTES, help="after which everything ends")
    command.add_argument("--quick", action="store_true", help="a tiny network, to see that it works")
    command.add_argument("--results", type=Path, default=HERE / "results" / "gpu.json", help="file, begun anew")
    command.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    options = command.parse_args(arguments)
    if options.quick:
        options.networks = ["tiny"]
    record = Record(options.results.resolve())
    options.results = record.path
    if options.part:
        for row in rows_of(Part(*options.part), options.device, options.quick):
            record.add(row)
        return
    record.path.unlink(missing_ok=True)
    try:
        run_all(options, record)
    finally:
        print(summary(record.rows()))


if __name__ == "__main__":
    main()
