"""Options of the test run."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--other-python",
        help="interpreter of an environment with another version of DeePMD-kit, to exchange files with",
    )
