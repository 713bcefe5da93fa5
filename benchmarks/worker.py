"""One implementation in a process of its own: it builds models, runs a step when told to, reports time and memory.

Reads one order a line as JSON from the standard input and answers each with one line. A process of its own gives each
side its own peak of memory and its own allocator, while :mod:`compare` lets both sides take turns.
"""

import contextlib
import importlib
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from deepmd.pt.model.model import get_model
from noise import shake
from systems import arrays

import deepmd_dpa4
from deepmd_dpa4.host import builtin

MEGABYTE = 1e6

Result = dict[str, torch.Tensor]


def device() -> torch.device:
    """The graphics card, unless there is none or it is hidden."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


clock = time.perf_counter


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what ``run`` returned; waits for the graphics card."""
    synchronize()
    start = clock()
    result = run()
    synchronize()
    return clock() - start, result


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def yardstick() -> float:
    """Speed of a fixed fp32 matrix product, GFLOP/s: 2048 x 512 x 512 on a CPU, 4096 cubed on a graphics card."""
    rows, inner = (4096, 4096) if torch.cuda.is_available() else (2048, 512)
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    left, right = torch.randn(rows, inner, device=device()), torch.randn(inner, inner, device=device())
    left @ right
    seconds, _ = timed(lambda: [left @ right for _ in range(10)])
    torch.set_float32_matmul_precision(precision)
    return 10 * 2 * rows * inner * inner / seconds / 1e9


def evaluate(model: torch.nn.Module, batch: Result) -> Result:
    """Energy and forces, as Python inference asks for them."""
    model.eval()
    return model(**batch)


def train_step(model: torch.nn.Module, batch: Result) -> Result:
    """Energy, forces, a loss of both, and its gradient with respect to all parameters."""
    model.train()
    model.zero_grad()
    result = model(**batch)
    (result["energy"].sum() + result["force"].square().sum()).backward()
    return result


STEPS = {"energy and forces": evaluate, "training step": train_step}


def memory() -> dict[str, float]:
    """Resident memory of this process now and at its peak, MB; that of the graphics card where there is one."""
    if torch.cuda.is_available():
        return {
            "now_mb": torch.cuda.memory_allocated() / MEGABYTE,
            "peak_mb": torch.cuda.max_memory_allocated() / MEGABYTE,
        }
    # `ru_maxrss` also counts the process that started this one
    status = Path("/proc/self/status")
    if not status.exists():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1e-3) / 1e6
        return {"now_mb": peak, "peak_mb": peak}
    kilobytes = {line.split(":")[0]: line.split()[1] for line in status.read_text().splitlines() if "kB" in line}
    return {"now_mb": 1.024e-3 * float(kilobytes["VmRSS"]), "peak_mb": 1.024e-3 * float(kilobytes["VmHWM"])}


def described(machine: dict[str, Any]) -> str:
    """Write hardware, threads and versions in a line."""
    return ", ".join(f"{key} {value}" for key, value in machine.items() if value is not None)


def machine() -> dict[str, Any]:
    """Hardware, threads and versions."""
    import deepmd

    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "deepmd-kit": deepmd.__version__,
        "deepmd-dpa4": deepmd_dpa4.__version__,
    }


class Worker:
    """Answers orders; the arguments of a method are the keys of its order."""

    def __init__(self) -> None:
        self.model: torch.nn.Module | None = None
        self.batch: Result = {}

    def answer(self, do: str, **arguments: Any) -> Any:
        return getattr(self, do)(**arguments)

    def build(self, side: str, params: dict[str, Any], weights: str) -> dict[str, Any]:
        """Build the model of one side with the weights in a file, which the first to come writes."""
        self.model = (builtin.build if side == "built-in" else get_model)(params)
        path = Path(weights)
        if not path.exists():
            shake(self.model)
            torch.save(self.model.state_dict(), path)
        self.model.load_state_dict(torch.load(path, weights_only=True))
        self.model.to(device())
        return {"baseline_mb": memory()["now_mb"]}

    def system(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Take the atoms that later steps run on."""
        self.batch = {name: torch.tensor(value, device=device()) for name, value in arrays(spec).items()}
        return {}

    def run(self, step: str) -> dict[str, Any]:
        """Time one step; also the yardstick just before, and energy and root mean square force as a check."""
        speed = yardstick()
        seconds, result = timed(lambda: self.step(step))
        return {
            "seconds": seconds,
            "yardstick_gflops": speed,
            "energy": float(result["energy"].detach().sum()),
            "force": float(result["force"].detach().square().mean().sqrt()),
        }

    def step(self, step: str) -> Result:
        """One step, nothing else."""
        assert self.model is not None, "build first"
        return STEPS[step](self.model, self.batch)

    def processor_time(self) -> dict[str, Any]:
        """From now on, time on the processor instead of the clock on the wall; that of all threads together."""
        global clock
        clock = time.process_time
        return {}

    def time(self, run: Callable[[], Any]) -> float:
        """Seconds that ``run`` takes."""
        return timed(run)[0]

    def call(self, function: str, **arguments: Any) -> Any:
        """What ``module:name`` of a benchmark returns; its first argument is this worker."""
        module, name = function.split(":")
        return getattr(importlib.import_module(module), name)(self, **arguments)

    def memory(self) -> dict[str, Any]:
        return memory()

    def machine(self) -> dict[str, Any]:
        return machine()

    def yardstick(self) -> dict[str, Any]:
        return {"yardstick_gflops": yardstick()}


def serve() -> None:
    # whatever libraries print goes to the error stream, so that the answers stay readable
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        print(json.dumps(worker.answer(**json.loads(line))), file=replies, flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        serve()
