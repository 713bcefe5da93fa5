"""Numbers of trainable parameters of the published models (theory 9.2, 9.3)."""

import pytest
import torch

from tests.support import options as models
from tests.support.models import build_potential
from tests.support.options import Options


def count(options: Options, ntypes: int) -> int:
    # the names of types do not matter without zone bridging
    potential = build_potential(options, dtype=torch.float32, type_map=[f"X{i}" for i in range(ntypes)])
    return sum(parameter.numel() for parameter in potential.parameters() if parameter.requires_grad)


CASES = [
    ("mini, 2 types", models.MINI, 2, 650_348),
    ("nano", models.NANO, 118, 480_268),
    ("mini", models.MINI | {"edge_norm": True}, 118, 655_084),
    ("neo", models.NEO, 118, 1_124_910),
    ("air", models.AIR, 118, 5_148_101),
    ("plus", models.PLUS, 118, 8_848_710),
    ("pro", models.PRO, 118, 25_210_702),
    ("paper air", models.PAPER_AIR, 89, 2_760_565),
    ("paper air", models.PAPER_AIR, 118, 2_762_885),
    ("paper air", models.PAPER_AIR, 10, 2_754_245),
    ("paper plus", models.PAPER_PLUS, 89, 5_444_918),
    ("paper plus", models.PAPER_PLUS, 10, 5_438_598),
    ("paper 4.0-pro", models.PAPER_PRO_40, 118, 32_484_354),
    ("paper 4.0.1-pro", models.PAPER_PRO_401, 118, 22_678_990),
]


@pytest.mark.parametrize(("name", "options", "ntypes", "expected"), CASES)
def test_count(name: str, options: Options, ntypes: int, expected: int) -> None:
    assert count(options | {"precision": "float32"}, ntypes) == expected
