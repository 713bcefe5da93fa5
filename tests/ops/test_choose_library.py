"""Which of the libraries that a wheel brings along a machine loads."""

from pathlib import Path

import pytest

from deepmd_dpa4.ops.native import choose_library, compiler
from deepmd_dpa4.ops.native.checksum import write_record
from deepmd_dpa4.ops.native.choose_library import (
    least_processor,
    levels,
    library_name,
    prebuilt_library,
    torch_version,
    usable_library,
)

AVX2 = "abm avx avx2 bmi1 bmi2 f16c fma movbe sse4_2"
AVX512 = f"{AVX2} avx512f avx512bw avx512cd avx512dq avx512vl"


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        (f"x86_64 {AVX512}", ["x86-64-v4", "x86-64-v3"]),
        (f"x86_64 {AVX512.replace('avx512vl', '')}", ["x86-64-v3"]),
        (f"x86_64 {AVX2}", ["x86-64-v3"]),
        (f"x86_64 {AVX2.replace(' fma', '')}", []),
        # a machine that hides what all processors with AVX-512 have
        (f"x86_64 {AVX512.replace('bmi2', '')}", []),
        (f"aarch64 {AVX512}", []),
        ("x86_64 ", []),
    ],
)
def test_levels_of_processors(processor: str, expected: list[str]) -> None:
    assert levels(processor) == expected


@pytest.mark.parametrize(("text", "version"), [("__version__ = '2.11.0+cu130'\n", "2.11"), ("nothing", "")])
def test_versions_of_torch(text: str, version: str) -> None:
    assert torch_version(text) == version


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Libraries for one torch; the machine has AVX2 and nothing compiled."""
    for level in choose_library.LEVELS:
        library = tmp_path / library_name("2.11", level)
        library.write_text(level)
        write_record(library)
    monkeypatch.setattr(compiler, "torch_build", lambda: "__version__ = '2.11.1'")
    monkeypatch.setattr(compiler, "processor", lambda: f"x86_64 {AVX2}")
    monkeypatch.setattr(choose_library, "library_path", lambda: tmp_path / "compiled.so")
    monkeypatch.setattr(choose_library.prebuilt_library, "__defaults__", (tmp_path, None))
    return tmp_path


def test_the_library_that_fits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert prebuilt_library() == folder / "torch2.11-x86-64-v3.so"
    monkeypatch.setattr(compiler, "processor", lambda: f"x86_64 {AVX512}")
    assert prebuilt_library() == folder / "torch2.11-x86-64-v4.so"
    monkeypatch.setattr(compiler, "torch_build", lambda: "__version__ = '2.10.0'")
    assert prebuilt_library() is None


def test_a_machine_can_try_what_a_lesser_one_loads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "processor", lambda: f"x86_64 {AVX512}")
    for at, level in enumerate(choose_library.LEVELS):
        assert levels(least_processor(level)) == list(choose_library.LEVELS)[at:]
        assert prebuilt_library(processor=least_processor(level)) == folder / library_name("2.11", level)
    assert prebuilt_library(processor="x86_64 sse2") is None


def test_a_library_of_this_machine_comes_first(folder: Path) -> None:
    compiled, brought = folder / "compiled.so", folder / "torch2.11-x86-64-v3.so"
    assert usable_library() == brought
    compiled.write_text("for this processor")
    assert usable_library() == brought, "it has no record"
    write_record(compiled)
    assert usable_library() == compiled
    compiled.write_text("cut")
    assert usable_library() == brought


def test_a_damaged_one_is_compiled(folder: Path) -> None:
    (folder / "torch2.11-x86-64-v3.so").write_text("cut")
    assert usable_library() == folder / "compiled.so"
