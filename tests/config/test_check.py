"""Options of a model together; single ones are in the catalogue of errors (``tests/catalogue``)."""

from typing import Any

import pytest

from deepmd_dpa4.config import ConfigError, UnsupportedOption, parse_descriptor
from deepmd_dpa4.config.check import check_model, check_models
from deepmd_dpa4.config.elements import ELEMENTS, multiplicity
from tests.support import inputs


def section(change: dict[str, Any]) -> dict[str, Any]:
    params = inputs.model()
    for key, value in change.items():
        params[key] = {**params[key], **value} if isinstance(params.get(key), dict) else value
    return params


@pytest.mark.parametrize(
    "sel", ["auto:abc", "auto:-1", "auto:nan", "auto:inf", "auto:", "automatic", 0, [0, 0], [3, -1]]
)
def test_numbers_of_neighbours_that_cannot_be(sel: Any) -> None:
    with pytest.raises(ConfigError, match=r"^`model/descriptor/sel` is"):
        parse_descriptor({"sel": sel})


@pytest.mark.parametrize("sel", ["auto", "auto:1.1", 1, [120], [46, 92], [0, 92]])
def test_numbers_of_neighbours_that_can_be(sel: Any) -> None:
    parse_descriptor({"sel": sel})
    check_models(section({"descriptor": {"sel": sel}}), fresh=True)


def test_one_number_of_neighbours_for_each_type() -> None:
    params = section({"descriptor": {"sel": [10, 10, 10]}})
    check_models(params)
    with pytest.raises(ConfigError, match=r"^`model/descriptor/sel` is \[10, 10, 10\] but .* each of the 2 types"):
        check_models(params, fresh=True)


def test_a_task_code_is_long_enough() -> None:
    branches = {name: section({"fitting_net": {"dim_case_embd": 2}}) for name in ("a", "b", "c")}
    with pytest.raises(ConfigError, match=r"^`model/model_dict/a/fitting_net/dim_case_embd` is 2 but .* at least 3"):
        check_models({"model_dict": branches})
    del branches["c"]
    check_models({"model_dict": branches})


def test_what_the_built_in_model_has_is_left_to_it() -> None:
    for params in (section({"descriptor": {"layer_scale": True, "rcut": -1}}), section({"spin": {}})):
        check_models(params)
        with pytest.raises(UnsupportedOption, match=r"^`model/"):
            check_model(params)
    check_models({"type": "standard", "descriptor": {"type": "se_e2_a", "rcut": -1}})


def test_a_cutoff_that_zone_bridging_needs() -> None:
    check_models(section({"bridging_r_outer": 4.5}))
    check_models(section({"bridging_method": "zbl", "bridging_r_outer": 3.5}))


def test_windows_fit_into_the_cutoff() -> None:
    """In the largest contact of the types; a smooth end needs room."""
    params = inputs.model(bridging_method="zbl", bridging_unit="contact", bridging_r_outer=2.6)
    check_model(params)
    with pytest.raises(ConfigError, match=r"`model/bridging_r_outer` is 2.7 but must not exceed .* up to 3.56 A"):
        check_model(params | {"bridging_r_outer": 2.7})
    smooth = inputs.model(bridging_method="zbl", bridging_end="cutoff", bridging_r_outer=3.5)
    with pytest.raises(ConfigError, match=r"`model/bridging_r_outer` is 3\.5 but must be below"):
        check_model(smooth)
    with pytest.raises(
        ConfigError, match=r"`model/type_map` is \['OW', 'H'\] but must hold symbols of chemical elements"
    ):
        check_model(params | {"type_map": ["OW", "H"]})


def test_reference_atoms_need_energies() -> None:
    referred = inputs.model(fitting={"vacuum_ref": True})
    given = referred | {"preset_out_bias": {"energy": [-3.0, None]}}
    with pytest.raises(ConfigError, match=r"^`model/fitting_net/vacuum_ref` is True but needs `model/preset_out_bias`"):
        check_models(referred)
    check_models(given)
    check_models({"model_dict": {"one": referred, "two": given}})
    with pytest.raises(ConfigError, match=r"^`model/model_dict/one/fitting_net/vacuum_ref` is True but needs"):
        check_models({"model_dict": {"one": referred, "two": inputs.model()}})


def test_ground_states_are_those_of_the_host() -> None:
    """One unpaired electron for each orbital that holds one, in the table of DeePMD-kit."""
    from deepmd.utils.econf_embd import electronic_configuration_embedding as orbitals

    for symbol in ELEMENTS:
        pairs = orbitals[symbol].reshape(-1, 2)
        assert multiplicity(symbol) == int((pairs.sum(axis=1) == 0).sum()) + 1, symbol
