"""The choice between plain and native kernels reaches the modules that have one."""

from typing import Final

import torch
from torch import Tensor, nn

from deepmd_dpa4.ops.select import is_native, set_native


class Both(nn.Module):
    """Something with two implementations, of which one exists on some machines only."""

    native: Final[bool] = False

    def forward(self, x: Tensor) -> Tensor:
        if self.native:
            return torch.ops.dpa4.operator_of_another_machine(x)
        return x + 1


def test_all_parts_with_a_choice() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(Both(), Both()))
    assert not is_native(model)
    set_native(model, True)
    assert is_native(model)
    assert [hasattr(part, "native") for part in model.modules()] == [False, False, False, True, True]
    set_native(model, False)
    assert not is_native(model)
    assert not is_native(nn.Linear(2, 2))


def test_a_script_holds_the_chosen_implementation_only() -> None:
    model = Both()
    set_native(model, False)
    assert "another_machine" not in str(torch.jit.script(model).inlined_graph)
