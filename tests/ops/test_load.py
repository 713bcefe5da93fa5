"""A process loads the native kernels once, or says once what it lacks."""

import logging
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import run
from typing import Any

import pytest
import torch

from deepmd_dpa4.ops.native import build as builder
from deepmd_dpa4.ops.native import load as loader
from deepmd_dpa4.ops.native.checksum import damage, record_path, write_record
from deepmd_dpa4.ops.native.library import BuildError

Builds = list[dict[str, Any]]


@pytest.fixture
def missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Builds:
    """A machine without library and compiler; the calls of ``build``."""
    calls: Builds = []

    def build(report: Callable[[str], None], **options: Any) -> Path:
        calls.append(options)
        raise BuildError("no compiler here")

    monkeypatch.setattr(loader, "_loaded", None)
    monkeypatch.setattr(loader, "usable_library", lambda: tmp_path / "missing.so")
    monkeypatch.setattr(loader, "known_failure", lambda path: None)
    monkeypatch.setattr(loader, "build", build)
    return calls


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_operators_can_be_called() -> None:
    if not loader.load():
        pytest.skip("this machine cannot have native kernels")
    assert torch.ops.dpa4.version() >= 1


def test_python_keeps_its_setting_of_the_optimiser() -> None:
    """TorchScript's, which the library switches off for programs like LAMMPS."""
    if not loader.load():
        pytest.skip("this machine cannot have native kernels")
    program = """
import torch
from deepmd_dpa4.ops.native import load
assert load.load() and torch._C._get_graph_executor_optimize()
"""
    run([sys.executable, "-c", program], check=True)
    program = f"""
import ctypes, torch
ctypes.CDLL({str(loader.usable_library())!r})
assert torch._C._get_graph_executor_optimize() == torch.cuda.is_available()
"""
    run([sys.executable, "-c", program], check=True)


def test_one_warning_and_one_attempt(missing: Builds, caplog: pytest.LogCaptureFixture) -> None:
    assert [loader.load() for _ in range(3)] == [False] * 3
    assert missing == [{"retry": False}]
    (warning,) = warnings(caplog)
    for text in ("no compiler here", "several times slower", "`dpa4 build`", "`model/kernels`"):
        assert text in warning


def test_threads(missing: Builds, caplog: pytest.LogCaptureFixture) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: loader.load(), range(8))) == [False] * 8
    assert len(missing) == len(warnings(caplog)) == 1


def test_a_known_failure_is_told_and_not_repeated(
    missing: Builds, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "known_failure", lambda path: "broken header")
    assert not loader.load()
    assert missing == []
    (warning,) = warnings(caplog)
    assert "an earlier build failed: broken header" in warning


def test_a_library_that_does_not_load(missing: Builds, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "missing.so").write_text("not a library")
    write_record(tmp_path / "missing.so")
    assert not loader.load()
    assert len(warnings(caplog)) == 1
    assert missing == []


def test_a_library_that_is_asked_for_is_no_reason_to_compile(
    missing: Builds, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert not loader.load(tmp_path / "other.so")
    assert missing == []
    (warning,) = warnings(caplog)
    assert f"{tmp_path / 'other.so'} is missing" in warning


def test_a_long_build_tells_the_log_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, 1.0, 14.5, 14.5, 20.0, 29.5, 29.5])
    monkeypatch.setattr(loader.time, "monotonic", lambda: next(clock))
    told: list[str] = []
    tell = loader.Occasional(told.append)
    for line in ("begin", "soon", "later", "soon again", "last"):
        tell(line)
    assert told == ["begin", "later", "last"]


def test_without_a_compiler_nothing_is_said_to_be_compiled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loader, "_loaded", None)
    monkeypatch.setattr(builder, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(builder, "find_compiler", lambda: None)
    with caplog.at_level(logging.INFO, "deepmd.dpa4"):
        assert not loader.load()
    (record,) = caplog.records
    assert "no C++ compiler found" in record.getMessage()


@pytest.mark.parametrize("harm", ["cut", "flipped", "empty", "no record"])
def test_a_damaged_library_is_compiled_again_and_not_loaded(
    missing: Builds, tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    library = tmp_path / "missing.so"
    content = bytes(range(256)) * 4
    library.write_bytes(content)
    write_record(library)
    assert damage(library) is None
    if harm == "no record":
        record_path(library).unlink()
    else:
        library.write_bytes({"cut": content[:300], "flipped": b"\1" + content[1:], "empty": b""}[harm])
    told = damage(library) or ""
    expected = {"cut": "has 300 bytes but must have 1024", "flipped": "SHA-256", "empty": "has 0 bytes"}
    assert expected.get(harm, "cannot be checked") in told
    assert not loader.load()
    assert missing == [{"retry": False}]
    assert warnings(caplog)[0] == f"{library} {told}; it is compiled again"
    assert "no compiler here" in warnings(caplog)[1]
