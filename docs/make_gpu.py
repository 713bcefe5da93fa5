"""Write the table of ``gpu.md``: compile the kernels in Triton for all cards, and note what they need.

``make generate`` runs this; it takes a minute, needs Triton and no card.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from deepmd_dpa4.ops.triton import couple, edge_gradients, edge_map, gated_sum, node_sum, softmax
from deepmd_dpa4.so3.layout import group_size

TARGET = Path(__file__).with_name("gpu.md")
BEGIN, END = "<!-- table of make_gpu.py -->", "<!-- end of the table -->"

# KiB of shared memory that a program may have, by compute capability: CUDA C++ programming guide, technical
# specifications per compute capability.
CARDS = {80: 163, 86: 99, 89: 99, 90: 227, 100: 227, 120: 99}
# Kept rows, rows, channels and groups of them.
SIZES = {
    "lmax 3, 64 channels": (10, 16, 64, 1),
    "lmax 4, 128 channels": (13, 25, 128, 4),
    "lmax 5, 256 channels": (30, 36, 256, 16),
}

# Degree, order and channels of a stream.
GATES = {"lmax 3, mmax 1, 64 channels": (3, 1, 64), "lmax 5, mmax 3, 256 channels": (5, 3, 256)}


@dataclass(frozen=True)
class Launch:
    """A kernel as one of our functions starts it."""

    name: str
    kernel: Any
    arguments: tuple[Any, ...]
    options: dict[str, Any]

    def source(self) -> tuple[ASTSource, dict[str, int]]:
        """Return what the compiler takes: types of arguments, constants, multiples of 16, and options."""
        constants = {name: value for name, value in self.options.items() if name in self.kernel.arg_names}
        given = dict(zip(self.kernel.arg_names, self.arguments, strict=False))
        signature = {name: "constexpr" if name in constants else _kind(given[name]) for name in self.kernel.arg_names}
        aligned = {
            (position,): [["tt.divisibility", 16]]
            for position, name in enumerate(self.kernel.arg_names)
            if isinstance(given.get(name), Tensor) or (isinstance(given.get(name), int) and given[name] % 16 == 0)
        }
        options = {name: value for name, value in self.options.items() if name not in constants}
        return ASTSource(self.kernel, signature, constexprs=constants, attrs=aligned), options


@dataclass(frozen=True)
class Need:
    """What a program of a kernel needs: registers of a thread, bytes of shared memory and of spilled registers."""

    registers: int
    shared: int
    spilled: int
    warps: int


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return {torch.float32: "*fp32", torch.int64: "*i64", torch.int32: "*i32"}[value.dtype]
    return "fp32" if isinstance(value, float) else "i32"


@contextmanager
def recording(launches: list[tuple[Any, tuple[Any, ...], dict[str, Any]]]) -> Iterator[None]:
    """Note the kernels that our functions would start."""

    class Recorder:
        def __init__(self, kernel: Any) -> None:
            self.kernel = kernel

        def __getitem__(self, grid: Any) -> Callable[..., None]:
            return lambda *arguments, **options: launches.append((self.kernel, arguments, options))

    modules = couple, edge_gradients, edge_map, gated_sum, node_sum, softmax
    before = [module.wrap_triton for module in modules]
    try:
        for module in modules:
            module.wrap_triton = Recorder
        yield
    finally:
        for module, function in zip(modules, before, strict=True):
            module.wrap_triton = function


def launches() -> list[Launch]:
    """List all kernels in all forms, for networks of three sizes, the last the largest."""
    found = [launch for size, numbers in SIZES.items() for launch in _of_rotation(size, *numbers)]
    gates = [launch for size, numbers in GATES.items() for launch in _of_gates(size, *numbers)]
    return found + gates + _of_others()


def _of_rotation(size: str, kept: int, rows: int, channels: int, groups: int) -> list[Launch]:
    node, spans = torch.zeros(16, dtype=torch.int64), torch.zeros(16, 2, dtype=torch.int64)
    local, matrix, weight = torch.zeros(16, kept, channels), torch.zeros(16, kept, rows), torch.zeros(16, groups)
    features, dots = torch.zeros(16, rows, channels), (local, matrix, weight)
    calls: dict[str, Callable[[], Any]] = {
        "sum": lambda: node_sum.node_sum(local, matrix, weight, None, spans, node, None),
        "sum, tangent": lambda: node_sum.node_sum(local, matrix, weight, dots, spans, node, None),
        "sum over senders": lambda: node_sum.node_sum(local, matrix, None, None, spans, node, node),
        "turn": lambda: edge_map.edge_map(features, matrix, None, node),
        "turn, tangent": lambda: edge_map.edge_map(features, matrix, (features, matrix), node),
        "outer product": lambda: edge_gradients.edge_outer(features, local, matrix, node),
        "gradients of the sum": lambda: edge_gradients.edge_gradients(features, local, matrix, weight, None, node),
        "gradients, tangent": lambda: edge_gradients.edge_gradients(features, local, matrix, weight, dots, node),
    }
    return [Launch(f"{name}; {size}", *recorded) for name, call in calls.items() for recorded in _recorded(call)[:1]]


def _of_gates(size: str, lmax: int, mmax: int, channels: int) -> list[Launch]:
    z = [torch.zeros(1, 16, group_size(lmax, order) * channels) for order in range(mmax + 1)]
    t = torch.zeros(1, 16, lmax * channels)
    calls: dict[str, Callable[[], Any]] = {
        "gates": lambda: gated_sum.gated_sum._init_fn(z, z, t),
        "gates, gradients": lambda: gated_sum.gated_sum_gradients._init_fn(z, z, t),
        "gates, second": lambda: gated_sum.gated_sum_second._init_fn([*z, t], z, z, t),
    }
    return [Launch(f"{name}; {size}", *_recorded(call)[-1]) for name, call in calls.items()]


def _of_others() -> list[Launch]:
    node, spans, scores = torch.zeros(16, dtype=torch.int64), torch.zeros(16, 2, dtype=torch.int64), torch.zeros(16, 16)
    weight, floor = torch.zeros(16), 1e-18
    local, matrix = torch.zeros(16, 10, 64), torch.zeros(16, 10, 16)
    rows, terms = torch.zeros(17, dtype=torch.int32), torch.zeros(16, 2, dtype=torch.int32)
    calls: dict[str, Callable[[], Any]] = {
        "product of fields": lambda: couple._couple(scores, scores, rows, terms, weight),
        "pieces of hubs": lambda: node_sum.node_sum(local, matrix, None, None, spans, node, None),
        "softmax": lambda: softmax.edge_softmax._init_fn(scores, weight, scores[0], spans, floor),
        "softmax, gradients": lambda: softmax.edge_softmax_gradients._init_fn(
            scores, scores, scores, weight, spans, floor
        ),
        "softmax, second": lambda: softmax.edge_softmax_second._init_fn(
            scores, weight, scores, scores, scores, scores, weight, spans, floor
        ),
    }
    return [Launch(name, *_recorded(call)[-1]) for name, call in calls.items()]


def _recorded(call: Callable[[], Any]) -> list[tuple[Any, tuple[Any, ...], dict[str, Any]]]:
    found: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []
    with recording(found):
        call()
    return found


def need(launch: Launch, capability: int) -> Need:
    """Compile a kernel for a card."""
    source, options = launch.source()
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", printed)
    assert found is not None, printed
    registers, stack, local = map(int, found.groups())
    return Need(registers, compiled.metadata.shared, stack + local, compiled.metadata.num_warps)


def table() -> str:
    """Render registers of a thread / KiB of shared memory of a program for each kernel and card."""
    lines = [
        f"Triton {triton.__version__}; no kernel spills registers.",
        "",
        "| kernel | warps | " + " | ".join(f"sm_{card}" for card in CARDS) + " |",
        "|---|---|" + "---|" * len(CARDS),
    ]
    for launch in launches():
        needs = [need(launch, card) for card in CARDS]
        assert not any(one.spilled for one in needs), (launch.name, needs)
        cells = " | ".join(f"{one.registers} / {one.shared / 1024:.2g}" for one in needs)
        lines.append(f"| {launch.name} | {needs[0].warps} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    """Rewrite the table."""
    text = TARGET.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    TARGET.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}", encoding="utf-8")
    print(f"wrote {TARGET}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
