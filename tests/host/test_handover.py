"""Inputs that only the built-in DPA4 covers are handed to it, with one warning that names the option."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deepmd_dpa4.freeze import freeze
from deepmd_dpa4.host.build import build_model
from deepmd_dpa4.host.model import ModelDPA4
from tests.support import inputs
from tests.support.commands import dp
from tests.support.official import needs_official
from tests.support.runs import Data

pytestmark = needs_official

LOGGER = "deepmd.dpa4"
SPIN = {"use_spin": [True, False], "virtual_scale": [0.3]}

ONLY_OFFICIAL: dict[str, inputs.Section] = {
    "layer_scale": inputs.model({"layer_scale": True}),
    "so2_norm": inputs.model({"so2_norm": True}),
    "node_wise_so3": inputs.model({"node_wise_so3": True}),
    "message_node_s2": inputs.model({"message_node_s2": True}),
    "full_attn_res": inputs.model({"full_attn_res": "independent"}),
    "n_blocks": inputs.model({"n_blocks": 0}),
    "layer_name": inputs.model(fitting={"layer_name": ["a", "b"]}),
    "spin": inputs.model(spin=SPIN),
    "fitting_net/type": inputs.model() | {"fitting_net": {"type": "property", "property_name": "gap", "neuron": [8]}},
}


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """Messages of our logger from warnings on; DeePMD-kit's handlers hide them from pytest's fixture."""
    messages: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler = Keep(logging.WARNING)
    logging.getLogger(LOGGER).addHandler(handler)
    yield messages
    logging.getLogger(LOGGER).removeHandler(handler)


@pytest.mark.parametrize("option", ONLY_OFFICIAL)
def test_one_warning_names_the_option(option: str, warnings: list[str]) -> None:
    model: Any = build_model(ONLY_OFFICIAL[option])
    assert type(model).__module__.startswith("deepmd.pt.")
    assert len(warnings) == 1
    assert option in warnings[0]


def test_no_warning_for_neutral_values(warnings: list[str]) -> None:
    from deepmd_dpa4.config.parse import OFFICIAL_ONLY_DESCRIPTOR, OFFICIAL_ONLY_FITTING

    descriptor = {key: allowed[0] for key, allowed in OFFICIAL_ONLY_DESCRIPTOR.items()}
    fitting = {key: allowed[0] for key, allowed in OFFICIAL_ONLY_FITTING.items()}
    assert isinstance(build_model(inputs.model(descriptor, fitting)), ModelDPA4)
    assert warnings == []


def test_training_and_files_of_a_model_that_was_handed_over(
    data: Data, tmp_path: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {"model": ONLY_OFFICIAL["layer_scale"]} | inputs.training(data.train, steps=1)
    name = inputs.write(tmp_path, content)
    printed = dp("train", name, folder=tmp_path)
    assert printed.count("Handing this model to the built-in DPA4") == 1
    assert "`model/descriptor/layer_scale` is True" in printed
    printed = dp("test", "-m", "model.ckpt.pt", "-s", data.valid, "-n", "1", folder=tmp_path)
    assert "layer_scale" in printed
    # official compiles for minutes, so only the hand-over of the call is tested
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(freeze, "_host_freeze", lambda **options: calls.append(options))
    path = str(tmp_path / "model.ckpt.pt")
    freeze.freeze(path, "model.pth")
    assert calls == [{"model": path, "output": "model.pth", "head": None}]
    assert any(".pt2 only" in message for message in warnings)


def test_denoising_loss(data: Data, tmp_path: Path) -> None:
    content = {"model": inputs.model()} | inputs.training(data.train, steps=1)
    content["loss"] = {"type": "dens"}
    name = inputs.write(tmp_path, content)
    printed = dp("train", name, "--skip-neighbor-stat", folder=tmp_path)
    assert printed.count("`loss/type` is 'dens'") == 1
    assert "is built by DeePMD-kit's built-in DPA4" in printed


def test_other_losses_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="tensor"):
        build_model(inputs.model()).set_active_mode_from_loss("tensor")
