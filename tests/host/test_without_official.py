"""DeePMD-kit 3.1 ships no DPA4: everything that would be handed to it is refused by name."""

from pathlib import Path
from typing import Any

import pytest

from deepmd_dpa4.config import ConfigError, UnsupportedOption
from deepmd_dpa4.config.parse import OFFICIAL_ONLY_DESCRIPTOR, OFFICIAL_ONLY_FITTING
from deepmd_dpa4.freeze.freeze import freeze
from deepmd_dpa4.host.build import build_model
from deepmd_dpa4.host.builtin import available
from deepmd_dpa4.host.compat import VERSION
from deepmd_dpa4.host.model import ModelDPA4
from tests.host.test_bad_input import complaint
from tests.support import inputs
from tests.support.commands import dp
from tests.support.runs import Data, Run, train

pytestmark = pytest.mark.skipif(available(), reason="this DeePMD-kit ships a DPA4")

REFUSED: dict[str, inputs.Section] = {
    "layer_scale": inputs.model({"layer_scale": True}),
    "n_blocks": inputs.model({"n_blocks": 0}),
    "layer_name": inputs.model(fitting={"layer_name": ["a", "b"]}),
    "spin": inputs.model(spin={"use_spin": [True, False], "virtual_scale": [0.3]}),
    "fitting_net/type": inputs.model() | {"fitting_net": {"type": "property", "property_name": "gap", "neuron": [8]}},
}


@pytest.mark.parametrize("option", REFUSED)
def test_options_of_official_name_the_version_that_lacks_it(option: str) -> None:
    with pytest.raises(UnsupportedOption, match=f"{option}.*DeePMD-kit {VERSION} has no DPA4"):
        build_model(REFUSED[option])


def test_training_refuses_them_with_the_same_message(data: Data, tmp_path: Path) -> None:
    content = {"model": REFUSED["layer_scale"]} | inputs.training(data.train)
    message = complaint(content, tmp_path, "--skip-neighbor-stat")
    assert "`model/descriptor/layer_scale` is True" in message
    assert f"DeePMD-kit {VERSION}" in message


def test_inputs_may_spell_out_neutral_values(data: Data, tmp_path: Path) -> None:
    descriptor = {key: allowed[0] for key, allowed in OFFICIAL_ONLY_DESCRIPTOR.items()}
    fitting = {key: allowed[0] for key, allowed in OFFICIAL_ONLY_FITTING.items()}
    section = inputs.model(descriptor, fitting)
    assert isinstance(build_model(section), ModelDPA4)
    run = train(tmp_path, {"model": section} | inputs.training(data.train, steps=1))
    assert "is built by deepmd-dpa4" in run.log


def test_charge_and_spin_are_refused() -> None:
    with pytest.raises(ConfigError, match=f"`model/descriptor/add_chg_spin_ebd` is true.*{VERSION}"):
        build_model(inputs.model({"add_chg_spin_ebd": True, "default_chg_spin": [0.0, 1.0]}))


@pytest.mark.parametrize("kind", ["dpa4", "emfa"])
def test_other_losses(kind: str, data: Data, tmp_path: Path) -> None:
    content: Any = {"model": inputs.model()} | inputs.training(data.train)
    content["model"]["type"] = kind
    if kind == "emfa":
        content["model"]["descriptor"]["type"], content["model"]["fitting_net"]["type"] = "emfa", "emfa_ener"
    content["loss"] = {"type": "dos"}
    assert "`loss/type` is 'dos'" in complaint(content, tmp_path, "--skip-neighbor-stat")


def test_compiled_files(trained: Run, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"model\.pt2' but must end in \.pth: DeePMD-kit {VERSION}"):
        freeze(str(trained.checkpoint), str(tmp_path / "model.pt2"))
    assert not list(tmp_path.glob("model*"))


def test_the_host_itself_replaces_the_suffix(trained: Run, tmp_path: Path) -> None:
    """Before our function is called, so that ``dp --pt freeze`` cannot complain."""
    printed = dp("freeze", "-c", trained.checkpoint, "-o", tmp_path / "model.pb", folder=tmp_path)
    assert "model.pth" in printed
    assert (tmp_path / "model.pth").exists()


def test_low_rank_training(data: Data, tmp_path: Path) -> None:
    content = {"model": inputs.model(lora={"rank": 2})} | inputs.training(data.train)
    message = complaint(content, tmp_path, "--skip-neighbor-stat")
    assert "`model/lora` is given" in message
    assert VERSION in message


@pytest.mark.parametrize("optimizer", ["AdamW", "HybridMuon", "AdaMuon"])
def test_optimizers(optimizer: str, data: Data, tmp_path: Path) -> None:
    content: Any = {"model": inputs.model()} | inputs.training(data.train, steps=3)
    content["optimizer"] = {"type": optimizer}
    run = train(tmp_path, content)
    assert "Trained model has been saved" in run.log
