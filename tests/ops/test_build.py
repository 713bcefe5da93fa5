"""Native libraries are compiled once, found again, and failures are told and remembered."""

import ctypes
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from deepmd_dpa4.ops.native import build as builder
from deepmd_dpa4.ops.native import library
from deepmd_dpa4.ops.native.build import build, known_failure, library_path
from deepmd_dpa4.ops.native.checksum import damage, refusal, write_record
from deepmd_dpa4.ops.native.compiler import MACHINE, find_compiler, openmp_of_torch, torch_folder
from deepmd_dpa4.ops.native.library import BuildError
from deepmd_dpa4.ops.native.sources import BINDING
from tests.support.commands import ROOT
from tests.support.disks import small_disk

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="native kernels are for Linux")
needs_compiler = pytest.mark.skipif(
    sys.platform != "linux" or find_compiler() is None, reason="needs a C++ compiler on Linux"
)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "csrc"
    (folder / "caller").mkdir(parents=True)
    (folder / "answer.h").write_text("int answer();\n")
    (folder / "answer.cpp").write_text('#include "answer.h"\nint answer() { return 42; }\n')
    caller = '#include "../answer.h"\nextern "C" int call() { return answer(); }\n'
    (folder / "caller" / "call.cpp").write_text(caller)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_every_source_is_shipped_and_counts() -> None:
    """``pyproject.toml`` and the name of the library know these suffixes, in all subfolders."""
    assert {path.suffix for path in builder.SOURCES.rglob("*") if path.is_file()} == {".cpp", ".h"}
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shipped = metadata["tool"]["setuptools"]["package-data"]["deepmd_dpa4.ops.native"]
    assert shipped == ["csrc/**/*.cpp", "csrc/**/*.h", "prebuilt/*"]


@needs_compiler
def test_compiled_once_and_found_again(sources: Path, cache: Path) -> None:
    told: list[str] = []
    path = build(told.append, sources, cache)
    assert path == library_path(sources, cache)
    assert path.exists()
    assert ctypes.CDLL(str(path)).call() == 42
    assert "linked" in told
    told.clear()
    assert build(told.append, sources, cache) == path
    assert told == []


@needs_compiler
def test_a_source_that_takes_long_is_no_silence(sources: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "BREATH", 0.001)
    told: list[str] = []
    build(told.append, sources, cache)
    assert told[0].startswith("compiling native kernels with ")
    assert "compiling for 0 s, 0 of 2 sources are done" in told
    assert sum(line.startswith("compiled ") for line in told) == 2


@needs_compiler
def test_bindings_are_not_made_for_this_processor(sources: Path, cache: Path) -> None:
    (sources / "common").mkdir()
    (sources / "common" / BINDING).write_text("#pragma once\nstruct Tensor { int x = 1; };\n")
    (sources / "caller" / "one_binding.h").write_text(
        '#include "../common/binding.h"\nextern "C" int one() { return Tensor().x; }\n'
    )
    (sources / "library.cpp").write_text('#include "caller/one_binding.h"\n')
    path = build(print, sources, cache)
    loaded = ctypes.CDLL(str(path))
    assert (loaded.one(), loaded.call()) == (1, 42)
    commands = [line.split() for line in path.with_suffix(".log").read_text().splitlines() if line.startswith("$")]
    made_for = {Path(words[words.index("-c") + 1]).name: MACHINE in words for words in commands if "-c" in words}
    assert made_for.pop("library.cpp") is False
    assert set(made_for.values()) == {True}


@needs_compiler
def test_bindings_cannot_see_packs(tmp_path: Path) -> None:
    """Their width would be another one than in the kernels."""
    source = tmp_path / "binding.cpp"
    source.write_text(f'#include "{builder.SOURCES / "common" / "simd.h"}"\n')
    compiler = find_compiler()
    assert compiler is not None
    for binding in (False, True):
        words = compiler.compiling(source, binding, tmp_path / "binding.o")
        failed = subprocess.run(words, capture_output=True, text=True, check=False)
        assert ("bindings are not made for a processor" in failed.stderr) == (failed.returncode != 0) == binding


@needs_compiler
def test_a_change_makes_another_library_and_compiles_what_changed(sources: Path, cache: Path) -> None:
    first = build(print, sources, cache)
    (sources / "answer.cpp").write_text('#include "answer.h"\nint answer() { return 43; }\n')
    told: list[str] = []
    second = build(told.append, sources, cache)
    assert second != first
    assert [line for line in told if line.startswith("compiled")] == ["compiled answer.cpp (1 of 1)"]
    assert ctypes.CDLL(str(second)).call() == 43
    (sources / "answer.h").write_text("int answer();  // changed\n")
    told.clear()
    build(told.append, sources, cache)
    assert len([line for line in told if line.startswith("compiled")]) == 2


@needs_compiler
def test_force_compiles_everything_again(sources: Path, cache: Path) -> None:
    build(print, sources, cache)
    told: list[str] = []
    build(told.append, sources, cache, force=True)
    assert len([line for line in told if line.startswith("compiled")]) == 2


@needs_compiler
def test_the_allocator_may_be_left_alone(sources: Path, cache: Path, tmp_path: Path) -> None:
    """The choice stays until another one is made."""
    setting = sources / builder.ALLOCATOR
    setting.parent.mkdir()
    setting.write_text('extern "C" int kept() { return 1; }\n')
    assert builder.SOURCES.joinpath(builder.ALLOCATOR).exists()
    kept = []
    for choice in (None, False, None, True):
        # under a name of its own, since a loaded library is not read again
        path = shutil.copy(build(print, sources, cache, set_allocator=choice), tmp_path / f"{len(kept)}.so")
        kept.append(hasattr(ctypes.CDLL(str(path)), "kept"))
    assert kept == [True, False, False, True]


BUILDER = """
import sys
from pathlib import Path
from deepmd_dpa4.ops.native.build import build
print(build(lambda line: print(line, flush=True), Path(sys.argv[1]), Path(sys.argv[2])))
"""


@needs_compiler
def test_two_processes_at_once(sources: Path, cache: Path) -> None:
    command = [sys.executable, "-c", BUILDER, str(sources), str(cache)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate(timeout=120)[0].splitlines() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert {lines[-1] for lines in printed} == {str(library_path(sources, cache))}
    assert [line for lines in printed for line in lines].count("linked") == 1


@needs_compiler
def test_broken_source(sources: Path, cache: Path) -> None:
    (sources / "answer.cpp").write_text("int answer() { return nonsense; }\n")
    target = library_path(sources, cache)
    with pytest.raises(BuildError, match="nonsense") as failure:
        build(print, sources, cache)
    log = target.with_suffix(".log")
    assert str(log) in str(failure.value)
    assert "answer.cpp" in log.read_text()
    assert not target.exists()
    assert not list(cache.rglob("*.partial"))


@needs_compiler
def test_a_failure_is_remembered_until_somebody_retries(sources: Path, cache: Path) -> None:
    (sources / "answer.cpp").write_text("int answer() { return nonsense; }\n")
    target = library_path(sources, cache)
    assert known_failure(target) is None
    with pytest.raises(BuildError):
        build(print, sources, cache)
    assert "nonsense" in (known_failure(target) or "")
    told: list[str] = []
    with pytest.raises(BuildError, match="nonsense"):
        build(told.append, sources, cache, retry=False)
    assert told == []
    with pytest.raises(BuildError):
        build(told.append, sources, cache)
    assert told


@needs_compiler
def test_another_compiler_may_try_what_failed(
    sources: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sources / "answer.cpp").write_text("int answer() { return nonsense; }\n")
    with pytest.raises(BuildError):
        build(print, sources, cache)
    only(monkeypatch, tmp_path / "bin", 'echo "another compiler 1.0"')
    assert known_failure(library_path(sources, cache)) is None


@needs_compiler
def test_an_undefined_symbol_is_found_at_once(sources: Path, cache: Path) -> None:
    (sources / "answer.cpp").unlink()
    with pytest.raises(BuildError, match="answer"):
        build(print, sources, cache)


@needs_compiler
def test_compiler_that_does_not_know_this_processor(
    sources: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_compiler()
    assert found is not None
    only(
        monkeypatch,
        tmp_path / "bin",
        f'case " $* " in *" {MACHINE} "*) exit 1;; esac\nPATH=/usr/local/bin:/usr/bin:/bin exec {found.path} "$@"',
    )
    path = build(print, sources, cache)
    assert ctypes.CDLL(str(path)).call() == 42
    assert MACHINE not in path.with_suffix(".log").read_text()


def only(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """A PATH that holds nothing but a command ``c++``."""
    folder.mkdir()
    command = folder / "c++"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))


@needs_linux
def test_no_compiler(sources: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match=r"no C\+\+ compiler found on PATH; looked for c\+\+, g\+\+, clang\+\+"):
        build(print, sources, cache)


def test_other_systems(sources: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder.sys, "platform", "win32")
    with pytest.raises(BuildError, match="'win32' but native kernels are available on Linux only"):
        build(print, sources, cache)


@needs_linux
def test_a_cache_that_cannot_be_written_is_named(sources: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BuildError, match=str(tmp_path / "file")):
        build(print, sources, tmp_path / "file" / "cache")


THREADS = """
#include <omp.h>
extern "C" int threads() {
  int count = 0;
#pragma omp parallel reduction(+ : count)
  count += 1;
  return count;
}
"""
COUNT = """
import ctypes, sys
import torch
torch.set_num_threads(2)
torch.ones(1000, 1000) @ torch.ones(1000, 1000)
threads = ctypes.CDLL(sys.argv[1]).threads()
with open("/proc/self/maps") as file:
    print(threads, len({line.split()[-1] for line in file if "gomp" in line}))
"""


@needs_compiler
@pytest.mark.skipif(openmp_of_torch(torch_folder()) is None, reason="this torch brings no OpenMP runtime")
def test_one_openmp_runtime(sources: Path, cache: Path) -> None:
    """That of torch, which therefore also decides about the number of threads."""
    (sources / "threads.cpp").write_text(THREADS)
    path = build(print, sources, cache)
    printed = subprocess.run(
        [sys.executable, "-c", COUNT, str(path)], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    assert printed.split() == ["2", "1"]


@needs_compiler
def test_a_full_disk_is_no_failure_of_the_compiler(sources: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 128) as cache:
        (cache / "other").write_bytes(bytes(116 * 1024))
        with pytest.raises(BuildError, match=f"cannot write native kernels to {cache}: .*No space left on device"):
            build(print, sources, cache)
        assert known_failure(library_path(sources, cache)) is None
        assert not list(cache.rglob("*.partial"))
        (cache / "other").unlink()
        assert ctypes.CDLL(str(build(print, sources, cache, retry=False))).call() == 42


@needs_compiler
def test_a_damaged_library_is_linked_again(sources: Path, cache: Path) -> None:
    path = build(print, sources, cache)
    whole = path.read_bytes()
    assert refusal(path) is None
    for content in (whole[:1000], b"", b"\0" + whole[1:]):
        path.write_bytes(content)
        assert "is damaged" in (damage(path) or "")
        told: list[str] = []
        build(told.append, sources, cache, retry=False)
        assert [line for line in told if line.startswith(("compiled", "linked"))] == ["linked"]
        assert damage(path) is None
        assert ctypes.CDLL(str(shutil.copy(path, path.with_name(f"{len(content)}.so")))).call() == 42


def test_another_kind_of_file_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "foreign.so"
    path.write_text("not a library")
    assert "cannot be checked" in (refusal(path) or "")
    write_record(path)
    assert "cannot be loaded: OSError" in (refusal(path) or "")


@needs_compiler
@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"some compiler 1.0\nwhy"])
def test_a_damaged_marker_is_no_failure(content: bytes, cache: Path, sources: Path) -> None:
    cache.mkdir()
    marker = library_path(sources, cache).with_suffix(".failed")
    marker.write_bytes(content)
    assert known_failure(library_path(sources, cache)) is None
    build(print, sources, cache, retry=False)
    assert not marker.exists()
