"""Conditions of a frame or an atom: charge and spin, frame parameters, atomic parameters."""

from typing import Any

import pytest
import torch
from deepmd.pt.model.model import get_model
from torch import Tensor

from deepmd_dpa4.host import builtin
from tests.support.models import relative_error
from tests.support.official import needs_official
from tests.support.options import MINI
from tests.support.weights import fill_golden

pytestmark = needs_official

CHARGE_SPIN = {"add_chg_spin_ebd": True, "default_chg_spin": [0.0, 1.0]}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, list]]] = {
    "charge and spin": (CHARGE_SPIN, {}, {"charge_spin": [[-1.0, 2.0]]}),
    "default charge and spin": (CHARGE_SPIN, {}, {}),
    "parameters": (
        {},
        {"numb_fparam": 2, "numb_aparam": 1},
        {"fparam": [[0.3, -0.2]], "aparam": [[[0.5], [-1.0], [0.2], [0.1], [0.9], [-0.4]]]},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_conditions_agree(case: str) -> None:
    descriptor, fitting, given = CASES[case]
    section = {
        "type": "dpa4",
        "type_map": ["O", "H"],
        "descriptor": {"sel": 120} | MINI | descriptor,
        "fitting_net": {"precision": "float64", "seed": 1} | fitting,
    }
    theirs = builtin.build(section).to("cpu").double().eval()
    fill_golden(theirs.named_parameters())
    for name, buffer in theirs.named_buffers():
        if name.endswith("_avg"):
            buffer.fill_(0.1)
        if name.endswith("_inv_std"):
            buffer.fill_(1.7)
    ours = get_model(section).to("cpu").eval()
    ours.load_state_dict(theirs.state_dict())
    generator = torch.Generator().manual_seed(5)
    coord = torch.rand([1, 6, 3], generator=generator, dtype=torch.float64) * 6.0
    batch: dict[str, Tensor] = {
        "coord": coord,
        "atype": torch.tensor([[0, 1, 1, 0, 1, 1]]),
        "box": torch.eye(3, dtype=torch.float64).view(1, 9) * 6.0,
    }
    batch |= {name: torch.tensor(value, dtype=torch.float64) for name, value in given.items()}
    found, expected = ours(**batch), theirs(**batch)
    for name in ("energy", "force", "virial"):
        assert relative_error(found[name], expected[name]) < 1e-11
