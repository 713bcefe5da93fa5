"""The choice of an implementation reaches the operations that have one, and fails closed."""

from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deepmd_dpa4.config import DescriptorConfig
from deepmd_dpa4.config.descriptor import MessageConfig
from deepmd_dpa4.config.option import option
from deepmd_dpa4.ops import backends
from deepmd_dpa4.ops.backends import BACKENDS, backend_of, plain_class, use_backend
from deepmd_dpa4.ops.edge_message import COVERED, CpuEdgeMessage, EdgeMessage
from deepmd_dpa4.ops.matrix_product import CpuProduct, Product
from deepmd_dpa4.ops.operation import Operation
from tests.support.backends import scripted_code

CPU, DOUBLE = torch.device("cpu"), torch.float64


class Plus(Operation):
    """Something with two implementations, of which one exists on some machines only."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 1


class ElsewherePlus(Plus):
    backend = "elsewhere"

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.dpa4.operator_of_another_machine(x)


class RefusingProduct(Product):
    backend = "elsewhere"

    @classmethod
    def supports(cls, config: DescriptorConfig | None, device: torch.device, dtype: torch.dtype) -> bool:
        return False


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registration is one line for each operation."""
    monkeypatch.setitem(backends.BACKENDS, "elsewhere", {Plus: ElsewherePlus, Product: RefusingProduct})


def test_all_operations_of_a_module() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(Plus(), Product()))
    assert backend_of(model) == "plain"
    use_backend(model, "elsewhere")
    assert backend_of(model) == "elsewhere"
    assert [type(part) for part in model[1]] == [ElsewherePlus, Product], "what is not supported stays plain"
    use_backend(model, "cpu")
    assert [type(part) for part in model[1]] == [Plus, CpuProduct]
    use_backend(model, "plain")
    assert backend_of(model) == backend_of(nn.Linear(2, 2)) == "plain"


def test_a_script_holds_the_chosen_implementation_only() -> None:
    model = nn.Sequential(Plus())
    use_backend(model, "elsewhere")
    use_backend(model, "plain")
    assert "another_machine" not in scripted_code(model)


@pytest.mark.parametrize("operation", BACKENDS["cpu"], ids=lambda kind: kind.__name__)
def test_implementations_are_subclasses_for_the_cpu_alone(operation: type[Operation]) -> None:
    implementation = BACKENDS["cpu"][operation]
    assert plain_class(implementation) is operation is plain_class(operation)
    assert (operation.backend, implementation.backend) == ("plain", "cpu")
    config = DescriptorConfig()
    assert not implementation.supports(config, torch.device("cuda"), DOUBLE)
    assert not implementation.supports(config, CPU, torch.bfloat16)
    assert operation.supports(config, torch.device("cuda"), torch.bfloat16)


def test_every_option_is_judged() -> None:
    """An option that the list lacks would take the native operator from every model."""
    assert set(DescriptorConfig().flat()) == COVERED.names
    covered = DescriptorConfig(message=MessageConfig(n_atten_head=8))
    assert CpuEdgeMessage.supports(covered, CPU, DOUBLE)


REFUSED: dict[str, dict[str, Any]] = {
    "mixing_layers": {"mixing_layers": 0},
    "radial_so2_rank": {"radial_so2_mode": "degree_channel", "radial_so2_rank": 0},
    "n_focus": {"n_focus": 9},
    "n_atten_head": {"n_atten_head": 9, "focus_dim": 72},
}


@pytest.mark.parametrize("name", REFUSED)
def test_options_outside_the_list(name: str) -> None:
    assert not CpuEdgeMessage.supports(DescriptorConfig(message=MessageConfig(**REFUSED[name])), CPU, DOUBLE)


def test_an_option_that_only_plain_code_knows_is_refused() -> None:
    """An option added to the network stays with plain torch until an implementation names it."""
    newer = make_dataclass(
        "NewerMessageConfig",
        [("sharpness", float, option(1.0, "Known to plain torch."))],
        bases=(MessageConfig,),
        frozen=True,
        kw_only=True,
    )

    @dataclass(frozen=True, kw_only=True)
    class NewerConfig(DescriptorConfig):
        message: Any = field(default_factory=newer)

    config = NewerConfig()
    assert "sharpness" in config.flat() and {item.name for item in fields(config)} == {
        item.name for item in fields(DescriptorConfig)
    }
    model = nn.Sequential(EdgeMessage(config, 2, 1), EdgeMessage(DescriptorConfig(), 2, 1))
    use_backend(model, "cpu")
    assert [type(part) for part in model] == [EdgeMessage, CpuEdgeMessage]
