"""The rules of the structure that the architecture page states."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import deepmd_dpa4
from deepmd_dpa4.descriptor.stages import axes_of, network_stages, potential_stages, reads_of, results_of

ROOT = Path(deepmd_dpa4.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))


def calls(path: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))


def test_only_operations_know_devices_and_native_operators() -> None:
    """Outside ``ops/`` nothing asks for a device to choose code, and nothing calls the library."""
    told = re.compile(r"\bis_cuda\b|torch\.ops\.dpa4\b")
    found = [path for path in FILES if told.search(path.read_text(encoding="utf-8"))]
    assert found
    assert {path.relative_to(ROOT).parts[0] for path in found} == {"ops"}


def test_the_order_of_stages_is_written_once() -> None:
    makers = {path for path in FILES for call in calls(path) if getattr(call.func, "id", "") == "Stage"}
    assert makers == {ROOT / "descriptor" / "stages.py"}


@pytest.mark.parametrize("referred", [False, True])
@pytest.mark.parametrize("bridged", [False, True])
@pytest.mark.parametrize("seeded", [False, True])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("served", [[True, True], [False, True], [False, False]])
def test_stages_read_what_is_there(
    referred: bool, bridged: bool, seeded: bool, shared: bool, served: list[bool]
) -> None:
    stages = potential_stages(network_stages(bridged, seeded, served, shared), bridged, referred)
    given = {"vector", "roll", "charge_spin", "fparam", "aparam"}
    absent = set() if bridged else {"gate"}
    assert set(reads_of(stages)) - given <= absent
    for position, stage in enumerate(stages):
        made = given | absent | {name for earlier in stages[:position] for name in earlier.writes}
        assert set(stage.reads) <= made, stage
        assert set(stage.reads + stage.writes) <= set(axes_of()), stage
        assert results_of([stage], stages[position + 1 :], ["energy"]), f"nothing reads what {stage} makes"


def test_no_record_is_filled_with_placeholders() -> None:
    """A record whose fields get the same value several times holds more than its reader needs."""
    records = {"Graph", "Ends", "EdgeGeometry", "EdgeContext", "EdgeCondition", "Conditions", "Scatter"}
    for path in FILES:
        for call in calls(path):
            if getattr(call.func, "id", "") in records - {"Conditions"}:
                given = [ast.dump(argument) for argument in call.args if not isinstance(argument, ast.Constant)]
                assert len(given) == len(set(given)), f"{path.name}:{call.lineno}"
