"""What `gpu.py` runs in a process of its own: a potential without DeePMD-kit, checked against the CPU and timed."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor, fx

from benchmarks import systems
from benchmarks.noise import shake
from deepmd_dpa4.compiled.energies import CompiledEnergies
from deepmd_dpa4.compiled.lower import Run, inductor
from deepmd_dpa4.config import parse_descriptor, parse_fitting
from deepmd_dpa4.descriptor.network import Network
from deepmd_dpa4.fitting.energy import EnergyFitting
from deepmd_dpa4.graph.graph import Ends, Graph
from deepmd_dpa4.model.potential import Potential
from deepmd_dpa4.ops.backends import BACKENDS, use_backend

Row = dict[str, Any]
MIB = 2**20
REPEATS, PATIENCE = 7, 4.0
"""Timed steps, and seconds after which no more than three are made."""
BOUNDS = {"float64": 1e-9, "float32": 2e-4, "bfloat16": 0.15}
"""Largest error of energy, forces, virial and gradients, over the largest entry, by the precision of a way."""


@dataclass(frozen=True)
class Way:
    """One way to run a network.

    Attributes
    ----------
    precision : str
        Of the blocks: float64, float32, bfloat16.
    compiled : bool
        Whether by compiled stages.
    backend : str
        Implementation of the operations.
    memory : float, optional
        Memory for what compiled stages keep, GB; by default as for users.
    """

    precision: str = "float32"
    compiled: bool = False
    backend: str = "plain"
    memory: float | None = None

    @property
    def name(self) -> str:
        """For tables."""
        how = "recomputing" if self.memory == 0.0 else "compiled"
        parts = [how if self.compiled else "eager", {"bfloat16": "AMP", "float64": "fp64"}.get(self.precision)]
        return " + ".join(part for part in [*parts, self.backend] if part and part != "plain")


def ways(device: torch.device) -> list[Way]:
    """All ways on a device; operators for cards as soon as there are any."""
    precisions = ["float32", "bfloat16"] if device.type == "cuda" else ["float32"]
    backends = ["plain", *(name for name in BACKENDS if name not in ("plain", "cpu"))]
    # on CPUs nothing is kept by default
    kept = None if device.type == "cuda" else 1.0
    return [
        Way(precision, compiled, backend, memory)
        for backend in backends
        for compiled, memory in ((False, None), (True, kept), (True, 0.0))
        for precision in precisions
    ]


class Counting:
    """Compiles graphs and counts them; on a CPU they run operator by operator."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.count = device, 0

    def __call__(self, graph: fx.GraphModule) -> Run:
        self.count += 1
        return inductor(graph) if self.device.type == "cuda" else graph


def build(name: str, way: Way, device: torch.device) -> Potential:
    """A published network with noise on its weights, the same for every way."""
    options = systems.network(name)["descriptor"] | {"use_amp": way.precision == "bfloat16"}
    config = parse_descriptor({key: value for key, value in options.items() if key != "type"})
    network = Network(config, 2, torch.float32)
    fitting = EnergyFitting(parse_fitting({"neuron": [0], "seed": 1}), 2, config.embedding.channels, torch.float32)
    potential = Potential(network, fitting, None, 2)
    shake(potential)
    if way.precision == "float64":
        potential = _double(config, fitting, potential)
    potential.to(device)
    use_backend(potential, way.backend)
    potential.compiled = CompiledEnergies(Counting(device), way.memory) if way.compiled else None
    return potential


def _double(config: Any, fitting: EnergyFitting, single: Potential) -> Potential:
    """The same weights in double precision, with tables of that precision."""
    width = config.embedding.channels
    precise = EnergyFitting(parse_fitting({"neuron": [0], "seed": 1}), 2, width, torch.float64)
    potential = Potential(Network(config, 2, torch.float64), precise, None, 2)
    potential.load_state_dict(single.state_dict())
    return potential


def graph_of(spec: systems.Spec, rcut: float, device: torch.device) -> Graph:
    """Edges of a periodic frame, sorted by receiver, by a tree of all images near the cell."""
    found = systems.arrays(spec)
    coord, cell, types = found["coord"][0], found["box"].reshape(3, 3), found["atype"][0]
    coord = coord - np.floor(coord @ np.linalg.inv(cell)) @ cell
    reach = np.ceil(rcut * np.linalg.norm(np.linalg.inv(cell), axis=0)).astype(int)
    shifts = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), -1).reshape(-1, 3) @ cell
    images = (shifts[:, None] + coord).reshape(-1, 3)
    near = ((images > coord.min(0) - rcut) & (images < coord.max(0) + rcut)).all(1).nonzero()[0]
    neighbours = cKDTree(images[near]).query_ball_point(coord, rcut, return_sorted=True)
    receiver = np.repeat(np.arange(len(coord)), [len(each) for each in neighbours])
    image = near[np.concatenate([np.asarray(each, dtype=np.int64) for each in neighbours])]
    vector = images[image] - coord[receiver]
    apart = (vector**2).sum(1) > 1e-10
    sender, receiver, vector = (image % len(coord))[apart], receiver[apart], vector[apart]
    node_type, frame = torch.from_numpy(types).to(device), torch.zeros(len(coord), dtype=torch.int64, device=device)
    ends = Ends(torch.from_numpy(sender).to(device), torch.from_numpy(receiver).to(device), len(coord))
    return Graph(node_type, frame, ends, torch.from_numpy(vector).to(device), None)


def train_step(potential: Potential, graph: Graph) -> dict[str, Tensor]:
    """Energy, forces and virial, and the gradients of a loss of all of them by all parameters."""
    potential.train()
    # as the model of the host does
    torch.set_float32_matmul_precision("high" if potential.descriptor.use_amp else "highest")
    potential.zero_grad()
    out = potential(graph, 1)
    sum(out[name].square().sum() for name in ("energy", "force", "virial")).backward()  # type: ignore[union-attr]
    return out


def evaluate(potential: Potential, graph: Graph) -> dict[str, Tensor]:
    """Energy, forces and virial."""
    potential.eval()
    torch.set_float32_matmul_precision("highest")
    return potential(graph, 1)


STEPS: dict[str, Callable[[Potential, Graph], dict[str, Tensor]]] = {"training": train_step, "evaluation": evaluate}


def results(potential: Potential, graph: Graph) -> dict[str, dict[str, Tensor]]:
    """Everything a training step and an evaluation find, on the CPU in double precision."""
    out = train_step(potential, graph)
    gradients = {name: p.grad for name, p in potential.named_parameters() if p.grad is not None}
    evaluated = evaluate(potential, graph)
    groups = {"gradients": gradients}
    for name in ("energy", "force", "virial"):
        groups[name] = {"trained": out[name]}
        groups[f"{name}, evaluation"] = {"evaluated": evaluated[name]}
    return {
        group: {name: value.detach().double().cpu() for name, value in found.items()} for group, found in groups.items()
    }


def errors(found: dict[str, dict[str, Tensor]], expected: dict[str, dict[str, Tensor]]) -> dict[str, float]:
    """Largest difference over the largest entry, of each quantity; gradients against the largest of any parameter."""
    worst = {}
    for group, values in expected.items():
        scale = max(float(value.abs().max()) for value in values.values())
        differences = [
            (found[group].get(name, torch.zeros_like(value)) - value).abs().max() for name, value in values.items()
        ]
        worst[group] = float(torch.stack(differences).nan_to_num(nan=float("inf")).max()) / max(scale, 1e-12)
    return worst


def check(name: str, device: torch.device, atoms: int, chosen: list[Way]) -> Iterator[Row]:
    """Compare every way with double precision on the CPU; one row for each."""
    spec, cpu = systems.diamond(atoms), torch.device("cpu")
    reference = build(name, Way("float64"), cpu)
    rcut = reference.descriptor.config.geometry.rcut
    expected = results(reference, graph_of(spec, rcut, cpu))
    for way in [Way("float64"), *chosen]:
        row: Row = {"kind": "correctness", "network": name, "atoms": atoms, "way": way.name}
        potential = build(name, way, device)
        worst = errors(results(potential, graph_of(spec, rcut, device)), expected)
        bound = BOUNDS[way.precision]
        # evaluation is never in reduced precision
        exact = BOUNDS["float32"] if way.precision == "bfloat16" else bound
        good = all(error <= (exact if "evaluation" in group else bound) for group, error in worst.items())
        yield row | {"errors": worst, "passed": good and not compilation_failed(potential)}


def compilation_failed(potential: Potential) -> bool:
    """Tell whether a potential that should run compiled code runs without."""
    return potential.compiled is not None and potential.compiled.failed  # type: ignore[attr-defined]


def measure(name: str, device: torch.device, step: str, counts: list[int], chosen: list[Way]) -> Iterator[Row]:
    """Time of the first step, of the median one, and memory; one row for each way and number of atoms."""
    for way in chosen:
        if step == "evaluation" and way.precision == "bfloat16":
            continue
        potential = build(name, way, device)
        rcut = potential.descriptor.config.geometry.rcut
        for atoms in counts:
            row: Row = {"kind": step, "network": name, "atoms": atoms, "way": way.name}
            try:
                graph = graph_of(systems.diamond(atoms), rcut, device)
                yield row | {"edges": len(graph.vector)} | timed(partial(STEPS[step], potential, graph), device)
            except torch.OutOfMemoryError as error:
                yield row | {"failed": str(error).split("\n")[0]}
            if compilation_failed(potential):
                yield row | {"failed": "compilation failed"}


def timed(run: Callable[[], Any], device: torch.device) -> Row:
    """Seconds of the first call and the median of later ones; peak of what torch allocates."""
    cuda = device.type == "cuda"
    before = 0
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    first = seconds_of(run, cuda)
    times: list[float] = []
    while len(times) < REPEATS and (len(times) < 3 or sum(times) < PATIENCE):
        times.append(seconds_of(run, cuda))
    found: Row = {"first_s": first, "median_s": statistics.median(times), "min_s": min(times), "max_s": max(times)}
    if cuda:
        found["peak_mib"] = torch.cuda.max_memory_allocated() / MIB
        found["before_mib"] = before / MIB
    return found


def seconds_of(run: Callable[[], Any], cuda: bool) -> float:
    """Seconds of one call; waits for the card."""
    if cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def mixed_sizes(name: str, device: torch.device, counts: list[int]) -> Iterator[Row]:
    """Training steps of systems of many sizes: none of them compiles anything again."""
    way = Way("bfloat16" if device.type == "cuda" else "float32", compiled=True)
    potential = build(name, way, device)
    rcut, cuda = potential.descriptor.config.geometry.rcut, device.type == "cuda"
    lowering = potential.compiled.lowering  # type: ignore[union-attr]
    graphs = [graph_of(systems.diamond(atoms), rcut, device) for atoms in counts]
    seconds_of(partial(train_step, potential, graphs[0]), cuda)
    before = lowering.count
    times = [seconds_of(partial(train_step, potential, graph), cuda) for graph in graphs]
    row: Row = {"kind": "mixed sizes", "network": name, "way": way.name, "atoms": counts, "seconds": times}
    yield row | {"graphs": before, "compiled again": lowering.count - before, "passed": lowering.count == before}


def yardstick(device: torch.device) -> Row:
    """Speed of matrix products in each precision, TFLOP/s, and of a copy, TB/s."""
    size = 8192 if device.type == "cuda" else 512
    cuda, found = device.type == "cuda", {"kind": "yardstick"}
    for label, dtype, setting in (
        ("fp32", torch.float32, "highest"),
        ("tf32", torch.float32, "high"),
        ("bf16", torch.bfloat16, "highest"),
    ):
        torch.set_float32_matmul_precision(setting)
        matrix = torch.randn(size, size, device=device, dtype=dtype)
        seconds_of(partial(torch.mm, matrix, matrix), cuda)
        best = min(seconds_of(partial(torch.mm, matrix, matrix), cuda) for _ in range(5))
        found[f"{label}_tflops"] = 2 * size**3 / best / 1e12
    block = torch.empty((2**30 if cuda else 2**22) // 4, device=device)
    target = torch.empty_like(block)
    best = min(seconds_of(partial(target.copy_, block), cuda) for _ in range(5))
    found["copy_tbps"] = 2 * block.numel() * 4 / best / 1e12
    return found
