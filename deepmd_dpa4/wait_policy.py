"""How threads and ranks wait for each other on machines that others use too.

By default both spin, which takes cores from those that work as soon as there are more of them than cores. OpenMP and
MPI read the settings from the environment when they are loaded, so they are made before torch or LAMMPS starts.
"""

import os
from collections.abc import MutableMapping
from pathlib import Path

THREADS_SLEEP = ("OMP_WAIT_POLICY", "passive")
RANKS_YIELD = ("MPIR_CVAR_POLLS_BEFORE_YIELD", "1")
"""Variables of OpenMP and of MPICH."""
THREADS, RANKS = "OMP_NUM_THREADS", "MPI_LOCALNRANKS"
SLACK = 0.5
"""Load that is taken for none."""


def wait_politely(environment: MutableMapping[str, str], load: float | None = None, cores: int | None = None) -> None:
    """Let ranks yield their core, and threads sleep if the machine is crowded; what is set already stays.

    A rank that yields keeps its core if nobody else wants it. Threads that sleep wake up later than those that spin, so
    they do only if ranks times threads, and the load that is there already, exceed the cores.

    Parameters
    ----------
    environment : mutable mapping
        Variables of this process or of one to start.
    load : float, optional
        Number of processes that run already; by default :func:`present_load`.
    cores : int, optional
        Cores that this process may use; by default what the system says.
    """
    environment.setdefault(*RANKS_YIELD)
    cores = len(os.sched_getaffinity(0)) if cores is None else cores
    load = present_load() if load is None else load
    everything = max(os.cpu_count() or 1, cores)  # the load is that of the whole node
    threads, ranks = _number(environment.get(THREADS), cores), _number(environment.get(RANKS), 1)
    wanted = threads * ranks
    if wanted > cores or (wanted > 1 and load + wanted > everything + SLACK):
        environment.setdefault(*THREADS_SLEEP)


def present_load() -> float:
    """Count the processes that run on the node: now, or on average over the last minute, whichever are fewer.

    The average alone would still count what has just ended.
    """
    average = os.getloadavg()[0]
    try:
        running = int(Path("/proc/loadavg").read_text(encoding="ascii").split()[3].split("/")[0])
    except (OSError, ValueError, IndexError):
        return average
    return max(0.0, min(average, running - 1.0))  # without this one


def _number(text: str | None, default: int) -> int:
    first = (text or "").split(",")[0]
    return int(first) if first.isdecimal() and int(first) > 0 else default
