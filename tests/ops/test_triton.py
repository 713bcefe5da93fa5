"""The operators in Triton: choice, interpretation, what torch's compiler and exports see, code for all cards."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch._functorch.aot_autograd import aot_module_simplified
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from deepmd_dpa4.config import DescriptorConfig, parse_descriptor
from deepmd_dpa4.errors import is_told
from deepmd_dpa4.graph.graph import Ends
from deepmd_dpa4.graph.order import with_order
from deepmd_dpa4.nn.grid_product import GridTables
from deepmd_dpa4.ops import operation
from deepmd_dpa4.ops.backends import BACKENDS, use_backend
from deepmd_dpa4.ops.operation import Operation
from deepmd_dpa4.ops.rotation import COVERED, RotateBackSum, RotateIn, TritonRotateIn
from deepmd_dpa4.ops.softmax import EnvelopeSoftmax

pytest.importorskip("triton")
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.errors import OutOfResources

from deepmd_dpa4.ops.triton.launch import KernelError

pytestmark = pytest.mark.skipif(not operation.has_triton(), reason="Triton needs a C compiler")
ROOT = Path(__file__).parents[2]
CARD, SINGLE = torch.device("cuda"), torch.float32


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import make_gpu

    return make_gpu


class TestChoice:
    @pytest.mark.parametrize("kind", BACKENDS["triton"].values(), ids=lambda kind: kind.__name__)
    def test_cards_and_single_precision_alone(self, kind: type[Operation]) -> None:
        config = DescriptorConfig()
        assert kind.supports(config, CARD, SINGLE)
        assert not kind.supports(config, torch.device("cpu"), SINGLE)
        assert not kind.supports(config, CARD, torch.float64)
        assert not kind.supports(config, CARD, torch.bfloat16)

    def test_without_triton(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(operation, "has_triton", lambda: False)
        assert not any(kind.supports(DescriptorConfig(), CARD, SINGLE) for kind in BACKENDS["triton"].values())

    def test_every_option_is_judged(self) -> None:
        assert set(DescriptorConfig().flat()) == COVERED.names

    @pytest.mark.parametrize(
        "options",
        [{"lmax": 6}, {"lmax": 4, "mmax": 4}, {"n_focus": 8, "focus_dim": 64}, {"radial_so2_rank": 5}],
        ids=str,
    )
    def test_what_has_no_tiles_stays_plain(self, options: dict[str, int]) -> None:
        config = parse_descriptor(options)
        model = nn.Sequential(RotateIn(config), RotateIn(DescriptorConfig()))
        use_backend(model, "triton", CARD)
        assert [type(part) for part in model] == [RotateIn, TritonRotateIn]

    def test_operators_are_plain_torch_on_cpus(self) -> None:
        model = nn.Sequential(RotateIn(DescriptorConfig()))
        use_backend(model, "triton", CARD)
        found = model[0](torch.ones(1, 4, 2), Ends(torch.tensor([0]), torch.tensor([0]), 1), torch.ones(1, 3, 4))
        assert torch.equal(found, torch.full((1, 3, 2), 4.0))


@pytest.mark.slow
def test_against_plain_torch() -> None:
    """In a process of its own, because the interpreter has to be chosen before Triton is imported."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/ops/interpreted.py"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]


def gradients(features: Tensor, matrix: Tensor, weight: Tensor, sender: Tensor, receiver: Tensor) -> list[Tensor]:
    """Everything that training differentiates."""
    from deepmd_dpa4.ops.triton.rotation import turn_back_sum, turn_in

    leaves = [tensor.detach().requires_grad_(True) for tensor in (features, matrix, weight)]
    local = turn_in(leaves[0], leaves[1], sender)
    total = turn_back_sum(local, leaves[1], leaves[2], receiver, features.shape[0])
    first = torch.autograd.grad(total.square().sum(), leaves, create_graph=True)
    return list(torch.autograd.grad(sum(gradient.square().sum() for gradient in first), leaves))


def inputs() -> list[Tensor]:
    sender, receiver = torch.tensor([1, 2, 0, 2]), torch.tensor([0, 0, 1, 2])
    return [torch.ones(3, 9, 16), torch.ones(4, 7, 9), torch.ones(4, 2), sender, receiver]


class Card:
    """A driver that names a card, which is all that torch asks before it runs code."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)


def test_the_compiler_sees_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Inductor is given holds launches of kernels in place of operators, and it knows what they write."""
    monkeypatch.setattr(driver, "_active", Card())
    traced = make_fx(gradients, tracing_mode="symbolic")(*inputs())
    assert "dpa4_triton.turn_in_along" in traced.code and "dpa4_triton.turn_back_second" in traced.code
    seen: list[fx.GraphModule] = []

    def keep(graph: fx.GraphModule, arguments: list[Any]) -> Any:
        seen.append(graph)
        return graph

    with torch.no_grad():
        aot_module_simplified(traced, inputs(), fw_compiler=keep)
    code = seen[0].code
    assert "triton_kernel_wrapper_functional" in code and "dpa4_triton" not in code
    written = set(re.findall(r"'(\w+)'", " ".join(re.findall(r"tensors_to_clone = \[(.*?)\]", code))))
    assert written == {"total", "partial", "local", "local_bar", "matrix_bar", "weight_bar"}


def test_results_are_on_the_card() -> None:
    """On tensors of a card without numbers, with all implementations that a model of that card has."""
    model = nn.ModuleList([RotateIn(DescriptorConfig()), RotateBackSum(DescriptorConfig()), EnvelopeSoftmax()])
    model.append(GridTables(2, None, True, SINGLE).multiply)
    use_backend(model, "triton", CARD)
    assert {part.backend for part in model} == {"triton"}
    with FakeTensorMode() as mode, torch.no_grad():
        features, matrix, weight, sender, receiver = (mode.from_tensor(tensor).to(CARD) for tensor in inputs())
        fake = mode.from_tensor
        for name, buffer in list(model[3].named_buffers()):
            setattr(model[3], name, fake(buffer).to(CARD))
        ends = with_order(Ends(sender, receiver, 3), 3)
        local = model[0](features, ends, matrix)
        share = model[2](weight.view(4, 2, 1), weight[:, 0], None, weight[:2, :1], ends)
        total = model[1](local, share, matrix, ends)
        product = model[3](total.transpose(0, 1), total.transpose(0, 1), None)
    assert all(tensor.is_cuda for tensor in (local, share, total, product))
    assert (local.shape, share.shape, total.shape, product.shape) == ((4, 7, 16), (4, 2, 1), (3, 9, 16), (9, 3, 16))


class TestFailures:
    """One line, without a traceback of Triton, and plain torch as the way out."""

    def fails(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> str:
        from deepmd_dpa4.ops.triton import edge_map

        class Failing:
            def __getitem__(self, grid: Any) -> Any:
                def start(*arguments: Any, **options: Any) -> None:
                    raise error

                return start

        monkeypatch.setattr(edge_map, "interpreted", lambda kernel, result: Failing())
        features, matrix, _, sender, _ = inputs()
        with pytest.raises(Exception) as caught:
            edge_map.edge_map(features, matrix, None, sender)
        assert is_told(caught.value) == isinstance(caught.value, KernelError)
        return str(caught.value)

    def test_kernel_that_needs_more_than_the_card_has(self, monkeypatch: pytest.MonkeyPatch) -> None:
        told = self.fails(monkeypatch, OutOfResources(300000, 101376, "shared memory"))
        assert told.startswith("the kernel `edge_map` in Triton cannot run on cpu: OutOfResources: out of resource: ")
        assert told.endswith("; `model/kernels` = 'plain' always works") and "\n" not in told

    def test_compiler_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        told = self.fails(monkeypatch, RuntimeError("Failed to find C compiler.\nPlease set the CC variable"))
        assert "cannot run on cpu: RuntimeError: Failed to find C compiler.; `model/kernels`" in told

    def test_want_of_memory_stays_what_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.fails(monkeypatch, torch.OutOfMemoryError("full")) == "full"

    def test_more_edges_than_kernels_can_count(self) -> None:
        from deepmd_dpa4.ops.triton.rotation import turn_in

        with (
            FakeTensorMode(),
            pytest.raises(KernelError, match="is given 2147483648 programs"),
        ):
            turn_in(torch.empty(3, 9, 16), torch.empty(2**31, 7, 9), torch.empty(2**31, dtype=torch.int64))


def test_exports_hold_the_operators() -> None:
    class Turning(nn.Module):
        def forward(self, features: Tensor, matrix: Tensor, sender: Tensor) -> Tensor:
            from deepmd_dpa4.ops.triton.rotation import turn_in

            return turn_in(features, matrix, sender)

    features, matrix, _, sender, _ = inputs()
    edges = torch.export.Dim("edges", min=2)
    shapes = (None, {0: edges}, {0: edges})
    program = torch.export.export(Turning(), (features, matrix, sender), dynamic_shapes=shapes)
    assert "dpa4_triton.turn_in.default" in program.graph_module.code


@pytest.mark.slow
def test_code_for_all_cards(pages: Any) -> None:
    """No spilled registers, shared memory within the limit, and the table of the documentation is this."""
    for launch in pages.launches():
        for card, most in pages.CARDS.items():
            needed = pages.need(launch, card)
            assert needed.spilled == 0, (launch.name, card)
            assert needed.shared <= most * 1024, (launch.name, card)
    text = pages.TARGET.read_text(encoding="utf-8")
    import triton

    if f"Triton {triton.__version__};" in text:
        assert pages.table() in text, "run `make generate`"


def test_every_kernel_is_in_the_table(pages: Any) -> None:
    """Those that start with an underscore are parts of others."""
    folder = ROOT / "deepmd_dpa4/ops/triton"
    sources = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    kernels = set(re.findall(r"@triton\.jit\ndef ([a-z]\w+)", sources))
    assert {launch.kernel.__name__ for launch in pages.launches()} == kernels
