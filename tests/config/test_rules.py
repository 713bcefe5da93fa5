"""What the rules allow; what they refuse is in the catalogue of errors (``tests/catalogue``)."""

from typing import Any

import pytest

from deepmd_dpa4.config import parse_descriptor


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
