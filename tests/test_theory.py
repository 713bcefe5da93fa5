"""References to sections of the theory page, its equations and its links."""

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from deepmd_dpa4.config import BridgingConfig, DescriptorConfig, FittingConfig
from deepmd_dpa4.tools.presets.sizes import SIZES
from tests.golden.test_models import CASES
from tests.support.commands import ROOT
from tests.support.models import golden_potential

DOCS = ROOT / "docs"
THEORY = (DOCS / "theory.md").read_text()
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]

NUMBER = r"\d+(?:\.\d+)?"
REFERENCE = re.compile(rf"\btheory\s+({NUMBER}(?:(?:,\s+|\s+to\s+|\s+and\s+){NUMBER})*)", re.IGNORECASE)
HEADING = re.compile(rf"^##+ ({NUMBER}) ", re.MULTILINE)
SECTIONS = HEADING.findall(THEORY)
EQUATION = re.compile(r"\\tag\{([\d.]+)\}")


def files(*folders: str) -> list[Path]:
    return [
        path
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".py", ".md", ".cpp", ".h")
    ]


def referred(text: str) -> set[str]:
    """Numbers of sections that a text refers to."""
    return {number for match in REFERENCE.finditer(text) for number in re.findall(NUMBER, match[1])}


def dangling(text: str) -> set[str]:
    """Numbers that are no section."""
    return referred(text) - set(SECTIONS)


def section(number: str) -> str:
    """Text below the heading of a section, up to the next heading."""
    start = re.search(rf"^##+ {re.escape(number)} .*$", THEORY, re.MULTILINE)
    assert start is not None, number
    return re.split(r"^##+ ", THEORY[start.end() :], maxsplit=1, flags=re.MULTILINE)[0]


def slugs(text: str) -> set[str]:
    """Names of the headings of a page in links, those of GitHub and MyST."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


def broken_links(page: Path, text: str) -> Iterator[str]:
    """Links of a page to headings that do not exist."""
    for target, name in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        other = (page.parent / target).read_text() if target else text
        if name not in slugs(other):
            yield f"{target}#{name}"


def test_a_missing_section_is_noticed() -> None:
    number = "4.99"
    assert dangling(f"Message (theory 4.8, {number}).") == {number}
    assert dangling(f"Theory\n{number} to 5.1") == {number}


def test_a_broken_link_is_noticed() -> None:
    text = "# A title\n[good](#a-title) [bad](#b-title) [bad](theory.md#48-attention)"
    assert list(broken_links(DOCS / "theory.md", text)) == ["#b-title", "theory.md#48-attention"]


def test_sections_are_in_order() -> None:
    numbers = [tuple(int(part) for part in number.split(".")) for number in SECTIONS]
    assert numbers == sorted(set(numbers))
    assert [number[0] for number in numbers if len(number) == 1] == list(range(1, 11))


@pytest.mark.parametrize("folder", ["deepmd_dpa4", "tests", "docs", "benchmarks", "examples"])
def test_references_name_sections(folder: str) -> None:
    found = {str(path.relative_to(ROOT)): dangling(path.read_text()) for path in files(folder)}
    assert {name: numbers for name, numbers in found.items() if numbers} == {}


def test_sections_with_equations_are_implemented() -> None:
    """Some docstring refers to each of them."""
    implemented = set().union(*(referred(path.read_text()) for path in files("deepmd_dpa4")))
    stating = {number for number in SECTIONS if int(number.split(".")[0]) <= 8 and EQUATION.search(section(number))}
    assert len(stating) > 30
    assert stating - implemented == set()


@pytest.mark.parametrize("page", ["theory", "kernels"])
def test_equations_are_numbered_by_section(page: str) -> None:
    """Number and anchor of each equation, none twice."""
    text = (DOCS / f"{page}.md").read_text()
    tags = EQUATION.findall(text)
    for number in HEADING.findall(text):
        own = [tag for tag in tags if tag.rsplit(".", 1)[0] == number]
        assert own == [f"{number}.{index}" for index in range(1, len(own) + 1)]
    anchors = re.findall(r'<a id="([^"]+)"></a>\n\n\$\$[^$]*\\tag\{([\d.]+)\} \$\$\n', text)
    assert anchors == [(f"eq-{tag.replace('.', '-')}", tag) for tag in tags]
    assert text.count("<a id=") == len(anchors) == len(set(anchors)) == text.count("$$") // 2


def test_equations_stand_in_their_sections() -> None:
    for number in SECTIONS:
        assert all(tag.rsplit(".", 1)[0] == number for tag in EQUATION.findall(section(number)))


def test_equations_that_the_text_names_exist() -> None:
    named = set(re.findall(r"\((\d+\.\d+\.\d+|8\.\d+|10\.\d+)\)", THEORY))
    assert named and named <= set(EQUATION.findall(THEORY))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_headings(page: Path) -> None:
    assert list(broken_links(page, page.read_text())) == []


def test_every_reference_is_used() -> None:
    """The works at the end are linked to from the text."""
    text, works = THEORY.split("## References\n")
    assert text.count("](#references)") >= works.count("\n- ")


def test_options_have_a_section() -> None:
    """Those that enter an equation, and those that say how numbers are computed."""
    elsewhere = {"trainable", "seed", "resnet_dt", "rcond", "default_fparam"}
    options = [item.name for group in (FittingConfig, BridgingConfig) for item in fields(group)]
    names = {*DescriptorConfig().flat(), *options} - elsewhere
    assert {name for name in names if f"`{name}`" not in section("9.1")} == set()


@pytest.mark.parametrize("case", ["neo", "s2"])
def test_parameters_are_listed(case: str) -> None:
    """The last two parts of each name, numbers aside."""
    text = re.sub(
        r"`([^`{]*)\{([^`}]*,[^`}]*)\}([^`]*)`",
        lambda match: " ".join(f"`{match[1]}{part}{match[3]}`" for part in match[2].split(",")),
        section("9.2"),
    )
    words = set(re.findall(r"\w+", text))
    for name, _ in golden_potential(CASES[case][0]).named_parameters():
        parts = [part for part in name.split(".") if not part.isdigit()]
        assert set(parts[-2:]) <= words, name


def test_published_numbers() -> None:
    counts = section("9.3")
    assert [name for name, size in SIZES.items() if f"{size.all_elements:,}" not in counts] == []


def test_golden_values_are_those_of_the_tests() -> None:
    numbers = set(re.findall(r"-?\d+\.\d+", section("10")))
    for _, _, *printed in CASES.values():
        assert set(" ".join(printed).split()) <= numbers
