"""The table of sizes: numbers of parameters, and other places that hold the same networks."""

import json

import pytest
import torch

from deepmd_dpa4.cli import main
from deepmd_dpa4.config import parse_descriptor
from deepmd_dpa4.tools.presets.sizes import FITTING, SIZES
from tests.support.commands import ROOT
from tests.support.models import build_potential


def built(size: str, types: int, branches: int = 1) -> int:
    """Number of trainable parameters of the network itself."""
    film = {"dim_case_embd": branches, "case_film_embd": True} if branches > 1 else {}
    potential = build_potential(
        SIZES[size].descriptor(), FITTING | film, dtype=torch.float32, type_map=[f"X{i}" for i in range(types)]
    )
    return sum(parameter.numel() for parameter in potential.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("types", "branches"), [(118, 1), (5, 2)])
def test_parameters(size: str, types: int, branches: int) -> None:
    assert SIZES[size].parameters(types, branches) == built(size, types, branches)


def test_parameters_of_many_branches() -> None:
    assert SIZES["nano"].parameters(2, 9) == built("nano", 2, 9)


def test_sections_are_copies() -> None:
    SIZES["mini"].descriptor()["grid_branch"].append(7)
    assert SIZES["mini"].descriptor()["grid_branch"] == [0, 0, 1]


def test_example_is_mini() -> None:
    model = json.loads((ROOT / "examples/water/train.json").read_text())["model"]
    assert parse_descriptor(model["descriptor"]) == parse_descriptor(SIZES["mini"].descriptor() | {"seed": 1})
    assert model["fitting_net"] == FITTING | {"seed": 1}


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["init", "--list"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    for name, size in SIZES.items():
        (row,) = (line for line in printed.splitlines() if line.startswith(f"│ {name} "))
        assert f"{size.all_elements:,}" in row


def test_documentation_has_the_same_numbers() -> None:
    page = (ROOT / "docs/presets.md").read_text()
    for name, size in SIZES.items():
        option = size.options
        numbers = [option[key] for key in ("channels", "lmax", "n_blocks", "mixing_layers", "n_focus")]
        cells = [f"`{name}`", size.title, *map(str, numbers), f"{size.all_elements:,}", f"{size.start_lr:g}"]
        assert f"| {' | '.join(cells)} |" in page
