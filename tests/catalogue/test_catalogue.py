"""Every mistake of the catalogue is told in the words that the page shows."""

import pytest

from tests.catalogue.case import Case, message
from tests.catalogue.desk import Desk
from tests.catalogue.page import CASES, PARTS, cases_of, entry, render
from tests.support.commands import ROOT

PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")


def marks(case: Case) -> list[pytest.MarkDecorator]:
    return [pytest.mark.slow] if case.program else []


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(case)) for name, case in CASES.items()])
def test_the_message(name: str, desk: Desk) -> None:
    case = CASES[name]
    if not case.possible:
        pytest.skip(f"needs {case.program}")
    said = message(case, desk)
    for part in case.says:
        assert part in said
    assert entry(case, said) in PAGE, "run `make generate`"


def test_the_page_holds_these_cases_in_order() -> None:
    """With the messages as they are there, which the test above compares."""
    written = iter(PAGE.split("\n```text\n")[1:])
    assert render({name: next(written).partition("\n```\n")[0] for name in CASES}) == PAGE, "run `make generate`"
    assert next(written, None) is None


def test_all_kinds_are_there() -> None:
    assert all(len(cases_of(part)) >= 20 for part in PARTS)
    assert len(CASES) == sum(len(kind.cases) for module in PARTS.values() for kind in module.KINDS), "two of one name"
    assert len(CASES) >= 300


def test_remedies_are_sentences() -> None:
    for name, case in CASES.items():
        assert case.says, name
        assert case.remedy[0].isupper() and case.remedy.endswith("."), name
