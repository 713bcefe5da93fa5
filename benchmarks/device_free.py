"""What would training and inference on a graphics card cost, as far as no card is needed to tell?

Floating-point operations, memory traffic, kernels and kept memory of a training step and of an evaluation, counted on
tensors without data of a pretended card; beside them the least time that a card needs for that traffic and arithmetic.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.counting import Cost, Kept, Lowering, Meter, like, pretended_card, without_data
from benchmarks.systems import LATTICE
from benchmarks.without_card import python_engine
from deepmd_dpa4.compiled import energies
from deepmd_dpa4.config import parse_descriptor, parse_fitting
from deepmd_dpa4.descriptor.network import Network
from deepmd_dpa4.fitting.energy import EnergyFitting
from deepmd_dpa4.graph.graph import Ends, Graph
from deepmd_dpa4.graph.neighbors import Scatter, search
from deepmd_dpa4.model.conditions import Conditions
from deepmd_dpa4.model.potential import Potential
from deepmd_dpa4.tools.presets.sizes import FITTING, SIZES

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "device_free.json"
STEPS = (("training", 400), ("training", 3200), ("evaluation", 4096))
"""What is counted, at which numbers of atoms."""
WAYS = {"plain": None, "keeping": 1e6, "recomputing": 0.0}
"""Memory for what compiled stages keep, GB; none for plain torch."""
GIGA, TERA = 1e9, 1e12


@dataclass(frozen=True)
class Card:
    """Peaks of a card without sparsity, TFLOP/s, and its memory bandwidth, TB/s."""

    fp32: float
    tf32: float
    bf16: float
    bandwidth: float
    source: str


HOPPER = "NVIDIA H100 and H200 data sheets, SXM"
BLACKWELL = "NVIDIA RTX Blackwell architecture white papers"
CARDS = {
    "H100": Card(67.0, 494.7, 989.4, 3.35, HOPPER),
    "H200": Card(67.0, 494.7, 989.4, 4.8, HOPPER),
    "RTX 5090": Card(104.8, 104.8, 209.5, 1.792, BLACKWELL),
    "RTX PRO 6000": Card(126.0, 251.9, 503.8, 1.792, BLACKWELL),
}
PUBLISHED = {
    ("nano", "training", 3192): (26.7, 20.4),
    ("mini", "training", 3192): (51.8, 36.3),
    ("neo", "training", 3192): (128.7, 89.9),
    ("air", "training", 3192): (224.6, 149.0),
    ("plus", "training", 396): (47.4, 36.8),
    ("pro", "training", 396): (156.5, 93.0),
    ("nano", "evaluation", 8000): (56.0, 34.4),
    ("mini", "evaluation", 8000): (116.9, 66.2),
    ("neo", "evaluation", 4096): (152.8, 137.1),
    ("air", "evaluation", 4096): (313.9, 272.6),
    ("plus", "evaluation", 1728): (275.8, 247.0),
}
"""Milliseconds on an RTX PRO 6000 that the authors of the built-in DPA4 publish: compiled, and with CUDA of their own;
bf16 blocks in training, fp32 in evaluation."""
NEAR = {400: 396, 3200: 3192}
"""Numbers of atoms that are taken for the published ones."""


@dataclass(frozen=True)
class Row:
    """One step of one network, run in one way."""

    network: str
    way: str
    step: str
    atoms: int
    edges: int
    flops: float
    moved: float
    kernels: int
    kept: int
    seconds: float
    """That counting took."""

    def roofline(self, card: Card) -> float:
        """Least time in ms: that of the traffic or that of the products in the precision of the step."""
        peak = card.bf16 if self.step == "training" else card.fp32
        return 1e3 * max(self.moved / (TERA * card.bandwidth), self.flops / (TERA * peak))


def neighbours() -> int:
    """Neighbours of an atom of diamond within 6 Angstrom."""
    corners = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0]]) / 4
    coord = torch.tensor(LATTICE * np.concatenate([corners, corners + 0.25])).unsqueeze(0)
    box = LATTICE * torch.eye(3, dtype=torch.float64).unsqueeze(0)
    graph = search(coord, torch.zeros([1, 8], dtype=torch.int64), box, 6.0, 1, None)
    return len(graph.vector) // 8


def potential_of(name: str) -> Potential:
    """A published network for one element."""
    torch.manual_seed(0)
    options = SIZES[name].descriptor() | {"sel": 120, "seed": 1}
    config = parse_descriptor(options)
    network = Network(config, 1, torch.float32)
    fitting = EnergyFitting(parse_fitting(FITTING | {"seed": 1}), 1, config.embedding.channels, torch.float32)
    return Potential(network, fitting, None, 1)


def graph_without_data(atoms: int, edges: int, mode: FakeTensorMode) -> Graph:
    """Nodes and edges of a frame on the card."""
    nodes, ends = torch.empty(atoms, dtype=torch.int64), torch.empty(edges, dtype=torch.int64)
    vector = torch.empty([edges, 3], dtype=torch.float64)
    return Graph(
        like(nodes, mode),
        like(nodes, mode),
        Ends(like(ends, mode), like(ends, mode), atoms),
        like(vector, mode),
        None,
    )


def run(potential: Potential, graph: Graph, step: str, kept: Kept) -> None:
    """One training step, or energy and forces."""
    potential.train(step == "training")
    scatter = Scatter(graph.ends.sender, graph.ends.receiver, graph.ends.n_receivers)
    conditions, training = Conditions(None, None, None), step == "training"
    with kept.hooks():
        out = potential.derive(graph, scatter, 1, conditions, training, tiled=False)
    if training:
        _loss(out).backward()


def _loss(out: dict[str, Tensor]) -> Tensor:
    return out["energy"].square().sum() + out["force"].square().sum() + out["virial"].square().sum()


def count(name: str, way: str, steps: Any = STEPS) -> Iterator[Row]:
    """Count the steps of one network; one row for each."""
    mode = FakeTensorMode()
    potential = without_data(potential_of(name), mode)
    assert isinstance(potential, Potential)
    degree = neighbours()
    lowering = Lowering()
    potential.compiled = None if way == "plain" else energies.CompiledEnergies(lowering, WAYS[way])
    for step, atoms in steps:
        start = time.perf_counter()
        # evaluations of so many edges run plain, in tiles
        with pretended_card(), mock.patch.object(energies, "MOST_EDGES", math.inf):
            graph = graph_without_data(atoms, degree * atoms, mode)
            if way != "plain":
                # plan all graphs first: what planning runs is no part of the step
                with mode, python_engine():
                    run(potential, graph, step, Kept(potential))
            lowering.total = Cost()
            for parameter in potential.parameters():
                parameter.grad = None
            kept, meter = Kept(potential), Meter()
            with mode, python_engine(), meter:
                run(potential, graph, step, kept)
        failed = potential.compiled is not None and potential.compiled.failed  # type: ignore[attr-defined]
        if failed:
            raise RuntimeError(f"{name}: the compiled stages could not be traced")
        total = meter.total + lowering.total
        spent = time.perf_counter() - start
        yield Row(
            name, way, step, atoms, degree * atoms, total.flops, total.moved, total.kernels, kept.bytes, round(spent, 1)
        )


def save(rows: list[Row], path: Path) -> None:
    """Write all rows, with the cards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "question": (__doc__ or "").split("\n")[0],
        "torch": torch.__version__,
        "cards": {name: asdict(card) for name, card in CARDS.items()},
        "rows": [asdict(row) for row in rows],
    }
    path.write_text(json.dumps(record, indent=1) + "\n")


def load(path: Path) -> list[Row]:
    """Rows of a file; none if there is no file."""
    return [Row(**row) for row in json.loads(path.read_text())["rows"]] if path.exists() else []


def table(rows: list[Row]) -> str:
    """Markdown."""
    names = list(CARDS)
    head = ["network", "step", "atoms", "way", "GFLOP", "GB moved", "kernels", "GB kept"]
    lines = [head + [f"{name}, ms" for name in names] + ["published, ms"]]
    lines.append(["---"] * len(lines[0]))
    for row in sorted(rows, key=lambda row: (list(SIZES).index(row.network), row.step != "training", row.atoms)):
        figures = [row.flops / GIGA, row.moved / GIGA, float(row.kernels), row.kept / GIGA]
        figures += [row.roofline(CARDS[name]) for name in names]
        key = row.network, row.step, NEAR.get(row.atoms, row.atoms)
        known = PUBLISHED.get(key)
        said = "" if known is None else f"{known[0]:g}; {known[1]:g}"
        lines.append([row.network, row.step, f"{row.atoms:,}", row.way, *map(_digits, figures), said])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _digits(value: float) -> str:
    """Three digits."""
    if value == 0:
        return "0"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def main(arguments: list[str] | None = None) -> None:
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("--models", nargs="+", default=["nano", "mini"], choices=list(SIZES), metavar="MODEL")
    command.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    command.add_argument("--results", type=Path, default=RESULTS, help="rows in this file are replaced or kept")
    command.add_argument("--table", action="store_true", help="print the table of what has been counted")
    options = command.parse_args(arguments)
    rows = {_key(row): row for row in load(options.results)}
    for name in [] if options.table else options.models:
        for way in options.ways:
            for row in count(name, way):
                rows[_key(row)] = row
                save(list(rows.values()), options.results)
                print(row, file=sys.stderr, flush=True)
    print(table(list(rows.values())))


def _key(row: Row) -> tuple[str, str, str, int]:
    return row.network, row.way, row.step, row.atoms


if __name__ == "__main__":
    main()
