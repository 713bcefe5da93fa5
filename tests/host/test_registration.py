"""What importing the package changes in DeePMD-kit; each change has a test that fails if the host moves on."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import deepmd.pt  # noqa: F401
import pytest
from deepmd.pt.entrypoints import main as host_main
from deepmd.pt.model import model as host_models
from deepmd.pt.model.descriptor.base_descriptor import BaseDescriptor
from deepmd.pt.model.model.model import BaseModel
from deepmd.pt.model.task.base_fitting import BaseFitting

from deepmd_dpa4.host.build import RegisteredDPA4
from deepmd_dpa4.host.descriptor import DescriptorDPA4
from deepmd_dpa4.host.fitting import FittingDPA4
from deepmd_dpa4.host.model import ModelDPA4
from tests.support import inputs
from tests.support.commands import dp, environment
from tests.support.official import needs_official
from tests.support.runs import Data, Run


class Called(Exception):
    """Raised by a spy, so that nothing after it has to run."""


def spy(*args: Any, **kwargs: Any) -> None:
    raise Called


def python(code: str, folder: Path, official: bool = False) -> str:
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment(official),
        text=True,
        capture_output=True,
        check=True,
    )
    return run.stdout


def test_classes_behind_the_names() -> None:
    for name in ("dpa4", "DPA4", "emfa"):
        assert BaseDescriptor.get_class_by_type(name) is DescriptorDPA4
        assert BaseModel.get_class_by_type(name) is RegisteredDPA4
        assert issubclass(RegisteredDPA4, ModelDPA4)
    for name in ("dpa4_ener", "emfa_ener"):
        assert BaseFitting.get_class_by_type(name) is FittingDPA4


@needs_official
def test_official_classes_keep_their_other_names() -> None:
    for registry, name in ((BaseDescriptor, "sezm"), (BaseFitting, "sezm_ener"), (BaseModel, "sezm")):
        assert registry.get_class_by_type(name).__module__.startswith("deepmd.pt.")


@pytest.mark.parametrize("kind", ["dpa4", "DPA4", "emfa"])
def test_every_consumer_builds_our_model(kind: str) -> None:
    """Each of these modules imports ``get_model`` by name when it is loaded."""
    from deepmd.pt.infer import deep_eval, inference
    from deepmd.pt.train import training

    for module in (host_models, deep_eval, inference, training):
        assert isinstance(module.get_model(inputs.model() | {"type": kind}), ModelDPA4), module.__name__


@needs_official
@pytest.mark.parametrize(
    ("name", "extra"),
    [("get_sezm_model", {}), ("get_sezm_spin_model", {"spin": {"use_spin": [True, False], "virtual_scale": [0.3]}})],
)
def test_get_model_looks_its_builders_up_in_its_module(
    name: str, extra: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert getattr(host_models, name).__module__ == "deepmd_dpa4.host.build"
    monkeypatch.setattr(host_models, name, spy)
    with pytest.raises(Called):
        host_models.get_model(inputs.model() | extra)


@needs_official
def test_zone_bridging_in_its_canonical_form_reaches_us() -> None:
    """DeePMD-kit also writes it as a linear model of a network and a repulsion."""
    learned = inputs.model()
    section = {
        "type": "linear_ener",
        "type_map": ["O", "H"],
        "weights": "sum",
        "models": [learned, {"type": "inner_potential", "mode": "zbl", "r_inner": 0.6, "r_outer": 0.9}],
    }
    model = host_models.get_model(section)
    assert isinstance(model, ModelDPA4)
    assert model.atomic_model.zbl is not None


def test_the_freeze_command_looks_its_function_up_in_its_module(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert host_main.freeze.__module__ == "deepmd_dpa4.freeze.freeze"
    monkeypatch.setattr(host_main, "freeze", spy)
    with pytest.raises(Called):
        host_main.main(["freeze", "-c", str(trained.checkpoint)])


def test_training_looks_its_trainer_up_in_its_module(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert host_main.get_trainer.__module__ == "deepmd_dpa4.register"
    received: list[Any] = []

    def record(config: Any, *args: Any, **kwargs: Any) -> None:
        received.append(config)
        raise Called

    monkeypatch.setattr(host_main, "get_trainer", record)
    monkeypatch.chdir(tmp_path)
    name = inputs.write(tmp_path, {"model": inputs.model()} | inputs.training(data.train))
    with pytest.raises(Called):
        host_main.main(["train", name, "--skip-neighbor-stat"])
    # what decides about the implementation has to be in what passes through
    assert received[0]["loss"]["type"] == "ener"
    assert received[0]["model"]["type"] == "dpa4"


def test_the_schema_tables_are_where_we_extend_them() -> None:
    from deepmd.utils import argcheck

    tables = {
        argcheck.descrpt_args_plugin: ("dpa4", "emfa"),
        argcheck.fitting_args_plugin: ("dpa4_ener", "emfa_ener"),
        argcheck.model_args_plugin: ("dpa4", "emfa"),
    }
    for plugin, names in tables.items():
        keys = [key[0] for key in plugin._ArgsPlugin__plugin.plugins]
        for name in names:
            # a second entry of one name would make DeePMD-kit refuse every input
            assert keys.count(name) == 1


def test_switched_off_nothing_is_registered(tmp_path: Path) -> None:
    code = """
import deepmd.main, deepmd.pt, torch
import deepmd.pt.entrypoints.main as main, deepmd.pt.model.model as models
from deepmd.pt.model.descriptor.base_descriptor import BaseDescriptor
from deepmd.pt.model.task.base_fitting import BaseFitting
from deepmd.utils import argcheck
found = [main.freeze, main.get_trainer]
found += [getattr(models, name) for name in ("get_sezm_model", "get_sezm_spin_model") if hasattr(models, name)]
for registry, name in ((BaseDescriptor, "dpa4"), (BaseFitting, "dpa4_ener")):
    try:
        found.append(registry.get_class_by_type(name))
    except RuntimeError:
        pass  # unknown to DeePMD-kit 3.1
found += [entry for plugin in (argcheck.descrpt_args_plugin, argcheck.fitting_args_plugin, argcheck.model_args_plugin)
          for entry in plugin._ArgsPlugin__plugin.plugins.values()]
print([item.__module__ for item in found if item.__module__.startswith("deepmd_dpa4")])
print(hasattr(torch.jit.load, "__wrapped__"))
"""
    assert python(code, tmp_path, official=True).split("\n")[:2] == ["[]", "False"]
    classes, reading = python(code, tmp_path).strip().split("\n")
    assert classes != "[]"
    assert reading == "True"


def test_input_documentation_has_our_texts_and_needs_no_torch(tmp_path: Path) -> None:
    printed = dp("doc-train-input", folder=tmp_path)
    assert "emfa" in printed
    assert "edges are never truncated" in printed
    code = "import sys, deepmd_dpa4.schema, deepmd.main; print('torch' in sys.modules)"
    assert python(code, tmp_path).strip() == "False"


def test_every_option_is_in_the_schema(tmp_path: Path) -> None:
    from deepmd.utils.argcheck import gen_args

    from deepmd_dpa4.schema import descriptor_arguments, fitting_arguments

    model = next(argument for argument in gen_args() if argument.name == "model")
    choice = next(iter(model.sub_variants.values())).choice_dict
    for name, suffix in (("dpa4", "dpa4"), ("emfa", "emfa")):
        parts = choice[name].sub_fields
        for part, ours, kind in (
            ("descriptor", descriptor_arguments(), suffix),
            ("fitting_net", fitting_arguments(), f"{suffix}_ener"),
        ):
            known = next(iter(parts[part].sub_variants.values())).choice_dict[kind].sub_fields
            assert {argument.name for argument in ours} <= set(known)


def test_a_model_of_another_kind_still_trains(data: Data, tmp_path: Path) -> None:
    section = {"type_map": ["O", "H"], "descriptor": inputs.SE_A, "fitting_net": {"neuron": [8], "seed": 1}}
    name = inputs.write(tmp_path, {"model": section} | inputs.training(data.train))
    printed = dp("train", name, folder=tmp_path)
    assert "Trained model has been saved" in printed
    assert "deepmd-dpa4" not in printed
    dp("freeze", "-o", "model.pth", folder=tmp_path)
    assert (tmp_path / "model.pth").exists()
    assert json.loads((tmp_path / "out.json").read_text())["model"]["descriptor"]["type"] == "se_e2_a"
