"""Elements of the training data, which a model notes for its users."""

from pathlib import Path
from typing import Any

import pytest
import torch
from deepmd.dpmodel.utils import stat
from deepmd.pt.model.model import get_model
from deepmd.utils import econf_embd
from deepmd.utils.path import DPPath

pytestmark = pytest.mark.skipif(
    not hasattr(stat, "collect_observed_types"), reason="this DeePMD-kit does not note elements"
)
TYPES = ["W", "X1", "H", "O", "C"]
DATA = [{"atype": torch.tensor([[3, 0, -1]])}, {"atype": torch.tensor([[1, 2, 2]])}]
MODEL: dict[str, Any] = {"type": "dpa4", "type_map": TYPES, "descriptor": {"channels": 4, "lmax": 1, "n_blocks": 1}}


@pytest.fixture
def atomic_model() -> Any:
    return get_model(MODEL).atomic_model


def noted(atomic_model: Any, data: Any, path: Any = None, preset: list[str] | None = None) -> Any:
    atomic_model._collect_and_set_observed_type(lambda: data, path, preset)
    return atomic_model.observed_type


def test_as_deepmd_kit_lists_them(atomic_model: Any) -> None:
    assert noted(atomic_model, DATA) == stat.collect_observed_types(DATA, TYPES) == ["H", "O", "W", "X1"]


def test_without_the_library_that_takes_long(atomic_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """67 s for the 89 elements of OMat24."""

    def element(symbol: str) -> None:
        raise AssertionError(f"asked for {symbol}")

    monkeypatch.setattr(econf_embd, "element", element)
    assert noted(atomic_model, DATA) == ["H", "O", "W", "X1"]


def test_given_and_stored_ones_come_first(atomic_model: Any, tmp_path: Path) -> None:
    (tmp_path / "stat").mkdir()
    path = DPPath(str(tmp_path / "stat"), "a")
    assert noted(atomic_model, DATA, path, ["C"]) == ["C"]
    assert noted(atomic_model, DATA, path) == ["H", "O", "W", "X1"]
    assert noted(atomic_model, DATA[:1], path) == ["H", "O", "W", "X1"]
    assert noted(atomic_model, DATA[:1]) == ["O", "W"]
