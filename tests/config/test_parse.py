"""Flat sections to option groups and back: names, types, near misses, options of the built-in DPA4."""

from typing import Any

import pytest

from deepmd_dpa4.config import ConfigError, UnsupportedOption, parse_descriptor, parse_fitting
from tests.support import options as models

OFFICIAL_ONLY = {
    "edge_cartesian": True,
    "node_cartesian": "full:1",
    "extra_node_l": 1,
    "so2_norm": True,
    "so2_attn_res": "independent",
    "full_attn_res": "dependent",
    "block_attn_res": "independent",
    "atten_f_mix": True,
    "atten_v_proj": True,
    "atten_o_proj": True,
    "layer_scale": True,
    "node_wise_s2": True,
    "node_wise_so3": True,
    "message_node_s2": True,
}


@pytest.mark.parametrize("name", OFFICIAL_ONLY)
def test_official_options_are_refused_unless_neutral(name: str) -> None:
    with pytest.raises(UnsupportedOption, match=f"`model/descriptor/{name}` is .*official"):
        parse_descriptor({name: OFFICIAL_ONLY[name]})


def test_neutral_values_of_official_options_are_accepted() -> None:
    neutral: dict[str, Any] = {name: False for name, value in OFFICIAL_ONLY.items() if value is True}
    neutral |= {"node_cartesian": "none", "extra_node_l": 0, "so2_attn_res": "none"}
    assert parse_descriptor(neutral) == parse_descriptor({})


@pytest.mark.parametrize("section", [{"n_blocks": 0}, {"l_schedule": []}])
def test_a_network_without_blocks_is_unsupported(section: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedOption, match="without blocks"):
        parse_descriptor(section)


@pytest.mark.parametrize(("name", "value"), [("atom_ener", [1.0]), ("use_aparam_as_mask", True)])
def test_official_options_of_the_fitting_net(name: str, value: Any) -> None:
    with pytest.raises(UnsupportedOption, match=f"`model/fitting_net/{name}`"):
        parse_fitting({name: value})


def test_integers_are_accepted_for_floats() -> None:
    rcut = parse_descriptor({"rcut": 5}).geometry.rcut
    assert rcut == 5.0
    assert isinstance(rcut, float)


def test_aliases() -> None:
    assert parse_descriptor({"so2_layers": 2}) == parse_descriptor({"mixing_layers": 2})
    assert parse_fitting({"n_neuron": [8]}) == parse_fitting({"neuron": [8]})


@pytest.mark.parametrize(
    "section",
    [
        {},
        models.MINI,
        models.NEO,
        models.PAPER_PRO_40,
        {"env_exp": 5, "basis_type": "bessel/fix"},
        {"l_schedule": [3, 2], "m_schedule": [1, 1], "exclude_types": [[0, 1], [1, 1]], "grid_branch": [0, 1, 2]},
    ],
)
def test_flat_is_the_inverse_of_parse(section: dict[str, Any]) -> None:
    config = parse_descriptor(section)
    flat = config.flat()
    assert parse_descriptor(flat) == config
    assert {key: flat[key] for key in section} == section


def test_schedules_replace_the_uniform_options() -> None:
    message = parse_descriptor({"l_schedule": [3, 2, 0], "mmax": 1}).message
    assert message.degrees == (3, 2, 0)
    assert message.orders == (1, 1, 0)
    uniform = parse_descriptor({"lmax": 2, "n_blocks": 2, "mmax": None}).message
    assert uniform.degrees == (2, 2)
    assert uniform.orders == (2, 2)


def test_branch_takes_precedence_over_mlp() -> None:
    grid = parse_descriptor({"grid_mlp": [True, True, False], "grid_branch": [0, 2, 0]}).grid
    assert [grid.operation(path) for path in range(3)] == ["mlp", "branch", "glu"]


def test_all_unknown_options_are_named_at_once() -> None:
    """Those of another descriptor, of which none is a misspelt one."""
    with pytest.raises(ConfigError) as told:
        parse_descriptor({"rcut": 6.0, "rcut_smth": 5.0, "axis_neuron": 16, "neuron": [25, 50]})
    assert str(told.value) == (
        "`model/descriptor/rcut_smth` is not an option of DPA4, and neither are `axis_neuron`, `neuron`"
    )
    with pytest.raises(ConfigError, match=r"^`model/descriptor/rcut_smth` is not an option of DPA4$"):
        parse_descriptor({"rcut": 6.0, "rcut_smth": 5.0})
