"""Options of the test run."""

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--other-python",
        help="interpreter of an environment with another version of DeePMD-kit, to exchange files with",
    )
    parser.addoption(
        "--released", action="append", type=Path, help="checkpoint of a released model, to run through all commands"
    )
