"""The command ``dpa4``."""

from pathlib import Path

import pytest

from deepmd_dpa4 import __version__
from deepmd_dpa4.cli import main
from deepmd_dpa4.ops.native.build import library_path
from deepmd_dpa4.ops.native.library import BuildError
from deepmd_dpa4.ops.native.load import load
from deepmd_dpa4.tools.commands import build as build_command
from deepmd_dpa4.tools.commands.run import ALLOCATOR, environment
from tests.support.commands import BIN, ROOT, call

SUBCOMMANDS = (
    *("init", "build", "check", "convert", "data", "descriptors", "dimer"),
    *("eos", "freeze", "info", "log", "parity", "plot", "run", "uncertainty"),
)


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in SUBCOMMANDS)], ids=" ".join)
def test_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 0
    assert "usage: dpa4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "named"),
    [([], "SUBCOMMAND"), (["biuld"], "'biuld'"), (["freeze", "model.pt", "--kernels", "fast"], "'fast'")],
)
def test_wrong_command_line(words: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert named in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"deepmd-dpa4 {__version__}\n"


class TestBuild:
    def test_stdout_is_the_path(self, capsys: pytest.CaptureFixture[str]) -> None:
        if not load():
            pytest.skip("this machine cannot have native kernels")
        assert main(["build"]) == 0
        printed = capsys.readouterr()
        assert printed.out == f"{library_path()}\n"
        assert "were there already" in printed.err

    def test_a_failure_is_told(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        def fail(report: object, force: bool, set_allocator: bool | None) -> Path:
            raise BuildError(f"no compiler, force is {force}, set_allocator is {set_allocator}")

        monkeypatch.setattr(build_command, "build", fail)
        assert main(["build", "--force", "--no-set-allocator"]) == 1
        assert "dpa4: error: no compiler, force is True, set_allocator is False" in capsys.readouterr().err

    def test_without_a_compiler_the_installed_library_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Unless something else is asked for."""

        def fail(*_: object, **__: object) -> Path:
            raise BuildError("no compiler")

        brought = tmp_path / "torch2.11-x86-64-v3.so"
        replaced = {"build": fail, "find_compiler": lambda: None, "usable_library": lambda: brought}
        for name, value in {**replaced, "library_path": lambda: tmp_path / "compiled.so"}.items():
            monkeypatch.setattr(build_command, name, value)
        assert main(["build"]) == 0
        assert capsys.readouterr().out == f"{brought}\n"
        assert main(["build", "--force"]) == 1
        monkeypatch.setattr(build_command, "find_compiler", lambda: "there is one")
        assert main(["build"]) == 1

    def test_what_the_warning_complains_of_is_mended(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A library that is damaged is made again, and one that cannot be loaded from the start."""
        library, forced = tmp_path / "kernels.so", []
        good = {None: b"good"}

        def make(report: object, force: bool, set_allocator: bool | None) -> Path:
            forced.append(force)
            library.write_bytes(good[None])
            return library

        def tried(path: Path) -> str | None:
            return {b"good": None, b"foreign": "cannot be loaded: it is foreign"}.get(path.read_bytes(), "is damaged")

        replaced = {"build": make, "refusal": tried, "library_path": lambda: library, "usable_library": lambda: library}
        for name, value in replaced.items():
            monkeypatch.setattr(build_command, name, value)
        for content, told in ((b"foreign", "cannot be loaded"), (b"cut", "is damaged"), (b"good", "")):
            library.write_bytes(content)
            assert main(["build"]) == 0
            printed = capsys.readouterr().err
            assert (f"{library} {told}" in printed) == bool(told)
            assert ("were there already" in printed) == (not told)
        assert forced == [True, False, False]
        good[None] = b"foreign"
        assert main(["build"]) == 1
        assert f"dpa4: error: {library} cannot be loaded: it is foreign" in capsys.readouterr().err


class TestRun:
    def test_settings_reach_the_program(self, tmp_path: Path) -> None:
        printed = call([BIN / "dpa4", "run", "--", "env"], tmp_path).splitlines()
        assert {f"{name}={value}" for name, value in ALLOCATOR.items()} <= set(printed)
        if library_path().exists():
            assert f"DP_PLUGIN_PATH={library_path()}" in printed

    def test_exit_status_and_arguments_are_the_program_s(self, tmp_path: Path) -> None:
        printed = call(
            [BIN / "dpa4", "run", "--", "sh", "-c", 'echo "$0 $1"; exit 3', "--help", "-x"], tmp_path, fails=True
        )
        assert printed == "--help -x\n"

    def test_settings_of_the_user_stay(self) -> None:
        assert environment({"MALLOC_TOP_PAD_": "1"})["MALLOC_TOP_PAD_"] == "1"

    def test_settings_are_those_of_the_documentation(self) -> None:
        text = (ROOT / "docs" / "performance.md").read_text()
        for name, value in ALLOCATOR.items():
            assert f"| `{name}` | {value} |" in text


def test_a_reader_that_stops(tmp_path: Path) -> None:
    """As `dpa4 ... | head` does; the command says nothing then."""
    script = f"{BIN / 'dpa4'} info --known 2> said | true; exit 0"
    call(["sh", "-c", script], tmp_path)
    assert (tmp_path / "said").read_text() == ""
