"""Threads and ranks spin where that costs nothing, and leave their core to others elsewhere."""

import os
from pathlib import Path

import pytest

from deepmd_dpa4.lammps_plugin import prepare
from deepmd_dpa4.tools.commands.run import environment
from deepmd_dpa4.wait_policy import present_load, wait_politely
from tests.support.commands import lammps

SLEEP = ("OMP_WAIT_POLICY", "passive")


@pytest.mark.parametrize(
    ("given", "load", "sleeps"),
    [
        ({}, 0.1, False),
        ({}, 3.0, True),
        ({"OMP_NUM_THREADS": "1"}, 50.0, False),
        ({"OMP_NUM_THREADS": "2"}, 1.0, False),
        ({"OMP_NUM_THREADS": "2"}, 3.0, True),
        ({"OMP_NUM_THREADS": "2", "MPI_LOCALNRANKS": "2"}, 0.0, False),
        ({"OMP_NUM_THREADS": "2", "MPI_LOCALNRANKS": "4"}, 0.0, True),
        ({"OMP_NUM_THREADS": "8"}, 0.0, True),
        ({"OMP_NUM_THREADS": "4,2"}, 0.0, False),
        ({"OMP_NUM_THREADS": "many"}, 0.0, False),
    ],
)
def test_threads_sleep_on_crowded_machines(
    given: dict[str, str], load: float, sleeps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    wait_politely(given, load, cores=4)
    assert (SLEEP in given.items()) == sleeps
    assert given["MPIR_CVAR_POLLS_BEFORE_YIELD"] == "1"


def test_cores_of_others_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that was given 4 of 64 cores may find the others busy."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    given = {"OMP_NUM_THREADS": "4"}
    wait_politely(given, 50.0, cores=4)
    assert SLEEP not in given.items()
    wait_politely(given, 63.0, cores=4)
    assert SLEEP in given.items()


def test_the_load_is_that_of_now() -> None:
    assert 0 <= present_load() <= os.getloadavg()[0] + 1


def test_what_is_set_stays() -> None:
    given = {"OMP_WAIT_POLICY": "active", "MPIR_CVAR_POLLS_BEFORE_YIELD": "1000", "OMP_NUM_THREADS": "2"}
    wait_politely(after := dict(given), load=1000.0)
    assert after == given


def test_programs_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPIR_CVAR_POLLS_BEFORE_YIELD", raising=False)
    assert environment({})["MPIR_CVAR_POLLS_BEFORE_YIELD"] == "1"
    prepare()
    assert os.environ["MPIR_CVAR_POLLS_BEFORE_YIELD"] == "1"


def test_lammps_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPIR_CVAR_POLLS_BEFORE_YIELD", raising=False)
    script = 'variable polls getenv MPIR_CVAR_POLLS_BEFORE_YIELD\nprint "polls ${polls}"\n'
    assert "polls 1" in lammps(script, tmp_path)
