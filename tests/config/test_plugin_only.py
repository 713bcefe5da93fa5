"""What DeePMD-kit 3.2.0 does not know is refused by name wherever its implementation would have to run."""

from typing import Any

import pytest

from deepmd_dpa4.checkpoint.canonical_options import BUILTIN, PLUGIN, normalize
from deepmd_dpa4.config import ConfigError, UnsupportedOption
from deepmd_dpa4.config.check import check_models
from deepmd_dpa4.config.plugin_only import newer_values
from deepmd_dpa4.host.build import build_model
from tests.support import inputs

NEWER: list[tuple[dict[str, Any], str]] = [
    ({"env_exp": 5}, "descriptor/env_exp` is 5"),
    ({"basis_type": "bessel/fix"}, "descriptor/basis_type` is 'bessel/fix'"),
    ({"basis_type": "gaussian/fix"}, "descriptor/basis_type` is 'gaussian/fix'"),
]
COMING: list[tuple[dict[str, Any], str]] = [
    ({"descriptor": {"chem_cond": {}}}, "model/descriptor/chem_cond"),
    ({"descriptor": {"basis_type": "chebyshev/fix"}}, "model/descriptor/basis_type"),
    ({"descriptor": {"env_exp": [5]}}, "model/descriptor/env_exp"),
]
"""What a later version might write."""


@pytest.mark.parametrize(("options", "told"), NEWER)
def test_models_that_need_the_other_implementation(options: dict[str, Any], told: str) -> None:
    section = inputs.model({**options, "layer_scale": True})
    with pytest.raises(ConfigError, match=f"^`model/{told}.*has no such value.*`model/descriptor/layer_") as error:
        build_model(section)
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match=f"^`model/model_dict/water/{told}.*layer_scale"):
        check_models({"model_dict": {"other": inputs.model(), "water": section}})
    with pytest.raises(ConfigError, match=f"^`model/{told}.*the input asks for it$"):
        check_models(inputs.model({**options, "type": "sezm"}))


@pytest.mark.parametrize(("options", "told"), NEWER)
def test_conversion(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UnsupportedOption, match=rf"^`model/{told} but .*3\.2\.0 has no such value"):
        normalize(inputs.model(options), BUILTIN, {})
    assert normalize(inputs.model(options), PLUGIN, {}).params["descriptor"].items() >= options.items()


def test_what_only_concerns_the_training_is_left_out() -> None:
    result = normalize(inputs.model(radial_optimizer="adamw"), BUILTIN, {})
    assert "radial_optimizer" not in result.params
    assert "`model/radial_optimizer` = adamw is left out" in result.notes


def test_known_values() -> None:
    assert newer_values(inputs.model({"env_exp": [5, 5], "basis_type": "gaussian"})) == []
    assert newer_values({"descriptor": "shared"}) == []


@pytest.mark.parametrize(("change", "told"), COMING)
def test_what_is_not_computed_here(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=f"^`{told}` is") as error:
        build_model(inputs.model(**change))
    assert "\n" not in str(error.value)
