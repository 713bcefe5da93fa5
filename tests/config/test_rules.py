"""Every rule refuses what breaks it, naming the option and the value."""

from typing import Any

import pytest

from deepmd_dpa4.config import BridgingConfig, ConfigError, parse_descriptor, parse_fitting

DESCRIPTOR: list[tuple[str, dict[str, Any]]] = [
    ("sel", {"sel": "all"}),
    ("rcut", {"rcut": 0.0}),
    ("rcut", {"rcut": -6.0}),
    ("env_exp", {"env_exp": [7]}),
    ("env_exp", {"env_exp": [7, 0]}),
    ("env_exp", {"env_exp": 0}),
    ("env_exp", {"env_exp": [7, 5, 3]}),
    ("basis_type", {"basis_type": "chebyshev"}),
    ("basis_type", {"basis_type": "bessel/fixed"}),
    ("n_radial", {"n_radial": 0}),
    ("radial_mlp", {"radial_mlp": [-1]}),
    ("eps", {"eps": 0.0}),
    ("channels", {"channels": 0}),
    ("default_chg_spin", {"default_chg_spin": [0.0]}),
    ("lmax", {"lmax": -1}),
    ("mmax", {"lmax": 1, "mmax": 2}),
    ("mmax", {"mmax": -1}),
    ("n_blocks", {"n_blocks": -1}),
    ("l_schedule", {"l_schedule": [1, 2]}),
    ("l_schedule", {"l_schedule": [1, -1]}),
    ("m_schedule", {"l_schedule": [2, 1], "m_schedule": [1]}),
    ("m_schedule", {"l_schedule": [2, 1], "m_schedule": [2, 2]}),
    ("mixing_layers", {"mixing_layers": -1}),
    ("radial_so2_mode", {"radial_so2_mode": "channel"}),
    ("radial_so2_rank", {"radial_so2_rank": -1}),
    ("n_focus", {"n_focus": 0}),
    ("focus_dim", {"focus_dim": -1}),
    ("n_atten_head", {"n_atten_head": -1}),
    ("n_atten_head", {"channels": 64, "n_atten_head": 3}),
    ("n_atten_head", {"focus_dim": 24, "n_atten_head": 16}),
    ("kmax", {"kmax": -1}),
    ("kmax", {"kmax": 4, "lmax": 3, "ffn_so3_grid": True}),
    ("kmax", {"kmax": 4, "lmax": 3, "message_node_so3": True}),
    ("kmax", {"kmax": 4, "lmax": 3, "so3_readout": "mlp"}),
    ("grid_mlp", {"grid_mlp": [True, False]}),
    ("grid_branch", {"grid_branch": [0, 1]}),
    ("grid_branch", {"grid_branch": -1}),
    ("grid_branch", {"grid_branch": [0, 0, -1]}),
    ("s2_activation", {"s2_activation": [True]}),
    ("lebedev_quadrature", {"lebedev_quadrature": [True, True, True]}),
    ("ffn_neurons", {"ffn_neurons": -1}),
    ("ffn_blocks", {"ffn_blocks": 0}),
    ("so3_readout", {"so3_readout": "branch"}),
    ("readout_layers", {"readout_layers": 0}),
    ("sandwich_norm", {"sandwich_norm": [True, False]}),
    ("activation_function", {"activation_function": "swish"}),
    ("precision", {"precision": "float8"}),
]
FITTING: list[tuple[str, dict[str, Any]]] = [
    ("neuron", {"neuron": [-1]}),
    ("activation_function", {"activation_function": "swish"}),
    ("precision", {"precision": "float8"}),
    ("numb_fparam", {"numb_fparam": -1}),
    ("numb_aparam", {"numb_aparam": -1}),
    ("dim_case_embd", {"dim_case_embd": -1}),
    ("default_fparam", {"numb_fparam": 2, "default_fparam": [1.0]}),
    ("case_film_embd", {"case_film_embd": True}),
]
BRIDGING: list[tuple[str, dict[str, Any]]] = [
    ("bridging_method", {"bridging_method": "lj"}),
    ("bridging_r_inner", {"bridging_r_inner": 0.0}),
    ("bridging_r_inner", {"bridging_r_inner": 0.9, "bridging_r_outer": 0.8}),
]


@pytest.mark.parametrize(("name", "section"), DESCRIPTOR)
def test_descriptor(name: str, section: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"^`model/descriptor/{name}` is .* (must|but)"):
        parse_descriptor(section)


@pytest.mark.parametrize(("name", "section"), FITTING)
def test_fitting(name: str, section: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"^`model/fitting_net/{name}` is .* (must|but)"):
        parse_fitting(section)


@pytest.mark.parametrize(("name", "section"), BRIDGING)
def test_bridging(name: str, section: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"^`{name}` is .* must"):
        BridgingConfig(**section)


def test_message_holds_the_value() -> None:
    with pytest.raises(ConfigError, match=r"`model/descriptor/rcut` is -1.0 but must be positive"):
        parse_descriptor({"rcut": -1})


@pytest.mark.parametrize(
    "section",
    [
        {"kmax": 4, "lmax": 3},
        {"mmax": None},
        {"l_schedule": [3, 2], "m_schedule": [2, 2]},
        {"sel": "auto:1.2"},
        {"sel": [40, 80]},
        {"n_atten_head": 0},
        {"mixing_layers": 0},
        {"radial_so2_rank": 0},
        {"default_chg_spin": [0, 1]},
        {"env_exp": 1},
        {"basis_type": "gaussian/fix"},
    ],
)
def test_allowed(section: dict[str, Any]) -> None:
    parse_descriptor(section)
