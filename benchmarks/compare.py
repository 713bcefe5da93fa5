"""Alternating timing of two implementations, with a yardstick beside every number."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch


def yardstick() -> float:
    """Speed of a 2048 x 512 x 512 fp32 matrix product, GFLOP/s."""
    left, right = torch.randn(2048, 512), torch.randn(512, 512)
    left @ right
    start = time.perf_counter()
    for _ in range(10):
        left @ right
    return 10 * 2 * 2048 * 512 * 512 / (time.perf_counter() - start) / 1e9


def alternate(candidates: dict[str, Callable[[], object]], repeats: int, warmup: int = 1) -> dict[str, dict]:
    """Time each candidate in turn.

    Returns
    -------
    dict[str, dict]
        Median, smallest and largest time in seconds and the median yardstick, per candidate.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    speeds: dict[str, list[float]] = {name: [] for name in candidates}
    for repeat in range(warmup + repeats):
        for name, run in candidates.items():
            speed = yardstick()
            start = time.perf_counter()
            run()
            if repeat >= warmup:
                times[name].append(time.perf_counter() - start)
                speeds[name].append(speed)
    return {
        name: {
            "median_s": statistics.median(values),
            "min_s": min(values),
            "max_s": max(values),
            "yardstick_gflops": statistics.median(speeds[name]),
        }
        for name, values in times.items()
    }


def machine() -> dict[str, object]:
    """Hardware, threads and versions."""
    import deepmd

    import deepmd_dpa4

    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "deepmd-kit": deepmd.__version__,
        "deepmd-dpa4": deepmd_dpa4.__version__,
    }


def allocator_settings() -> dict[str, str]:
    """Settings of the C library's allocator in the environment (docs/performance.md)."""
    return {name: value for name, value in os.environ.items() if name.startswith("MALLOC_")}
