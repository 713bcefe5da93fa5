"""Names in a checkpoint are sorted into those of the model, of another model, and of nothing."""

import pytest
import torch

from deepmd_dpa4.checkpoint import match_keys
from deepmd_dpa4.checkpoint.match_keys import is_parameter, listed
from deepmd_dpa4.config import parse_descriptor
from deepmd_dpa4.descriptor.network import Network
from deepmd_dpa4.tools.presets.sizes import SIZES
from tests.parity.test_options import CHANGES
from tests.support.options import MINI, Options

NETWORKS: dict[str, Options] = (
    {name: MINI | change for name, change in CHANGES.items()}
    | {name: size.descriptor() for name, size in SIZES.items()}
    | {"charge and spin": MINI | {"add_chg_spin_ebd": True}}
)


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_of_every_option_are_known(name: str) -> None:
    network = Network(parse_descriptor(NETWORKS[name] | {"channels": 8, "focus_dim": 8}), 2, torch.float32)
    assert [key for key, _ in network.named_parameters() if not is_parameter(key)] == []


@pytest.mark.parametrize("name", ["blocks.3.so2_conv.so2_linears.1.A_m.2", "output_ffn.so3_linear_1.B_by_l"])
def test_factors_of_low_rank_updates_are_parameters(name: str) -> None:
    assert is_parameter(name)


@pytest.mark.parametrize(
    "name",
    ["_empty_tensor", "blocks.0.so2_conv.coeff_index_m", "blocks.1.so2_conv.rotate_inv_rescale_full", "blocks.0.new.w"],
)
def test_constants_are_none(name: str) -> None:
    assert not is_parameter(name)


def test_names_are_sorted() -> None:
    found = ["d.type_embedding.adam_type_embedding", "d._empty_tensor", "d.film_scale_strength_log", "f.a", "f.new"]
    expected = ["d.type_embedding.adam_type_embedding", "f.a", "f.b"]
    result = match_keys.fit(found, expected, "d.")
    assert result.missing == ("f.b",)
    assert result.foreign == ("d.film_scale_strength_log", "f.new")
    assert result.stale == ("d._empty_tensor",)


def test_long_lists_are_cut() -> None:
    assert listed("abc") == "a, b, c"
    assert listed("abcdefg", 3) == "a, b, c and 4 more"
