"""Errors of this package end the commands in one line."""

import sys
from pathlib import Path

import pytest
import torch

from deepmd_dpa4.config import ConfigError, parse_descriptor
from deepmd_dpa4.errors import UserError, is_told, shortening
from deepmd_dpa4.graph.neighbors import check_geometry
from tests.support.commands import BIN, call


def raised(action: object) -> BaseException:
    try:
        action()  # type: ignore[operator]
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_which_errors_say_all() -> None:
    assert is_told(raised(lambda: parse_descriptor({"lmax": -1})))
    assert is_told(raised(lambda: check_geometry(torch.full((1, 1, 3), torch.nan), None)))
    assert not is_told(raised(lambda: int("x")))
    assert not is_told(raised(lambda: {}["x"]))
    assert issubclass(ConfigError, UserError)


def test_others_keep_their_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[type[BaseException]] = []
    hook = shortening(lambda kind, error, trace: seen.append(kind))
    for error in (UserError("`x` is 1 but must be 2"), KeyError("x")):
        hook(type(error), error, None)
    assert seen == [KeyError]
    assert capsys.readouterr().err == "dp: error: `x` is 1 but must be 2\n"


def test_dp_ends_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_text("junk")
    printed = call([BIN / "dp", "--pt", "freeze", "-c", "model.pt"], tmp_path, fails=True)
    assert "Traceback" not in printed
    assert "dp: error: model.pt is not a file of torch, or cut short" in printed.splitlines()


def test_python_keeps_its_hook() -> None:
    assert sys.excepthook.__name__ != "told"
