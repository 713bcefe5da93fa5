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
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks import builtin_plan
from benchmarks.counting import Cost, Kept, Meter
from benchmarks.planning import Lowering, like, pretended_card, without_data
from benchmarks.roofs import BUILTIN, CARDS, WAYS, Row, Way, table
from benchmarks.systems import LATTICE
from benchmarks.without_card import python_engine
from deepmd_dpa4.compiled import energies
from deepmd_dpa4.compiled.segment import Segment
from deepmd_dpa4.config import parse_descriptor, parse_fitting
from deepmd_dpa4.descriptor.network import Network
from deepmd_dpa4.fitting.energy import EnergyFitting
from deepmd_dpa4.graph.graph import Ends, Graph
from deepmd_dpa4.graph.neighbors import Scatter, search
from deepmd_dpa4.model.conditions import Conditions
from deepmd_dpa4.model.potential import Potential
from deepmd_dpa4.ops.backends import use_backend
from deepmd_dpa4.tools.presets.sizes import FITTING, SIZES

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "device_free.json"
STEPS = (("training", 400), ("training", 3200), ("evaluation", 4096))
"""What is counted, at which numbers of atoms."""


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
    if way == BUILTIN:
        yield from _count_builtin(name, steps)
        return
    prepared = Prepared(name, WAYS[way])
    for step, atoms in steps:
        start = time.perf_counter()
        total, kept = prepared.cost(step, atoms)
        spent = round(time.perf_counter() - start, 1)
        edges = prepared.degree * atoms
        yield Row(name, way, step, atoms, edges, total.flops, total.moved, total.kernels, kept, spent)


class Prepared:
    """A network without data, ready to run in one way.

    Attributes
    ----------
    lowering : Lowering
        Counts what compiled stages run.
    degree : int
        Neighbours of an atom.
    """

    def __init__(self, name: str, way: Way) -> None:
        self.mode, self.degree, self.lowering = FakeTensorMode(), neighbours(), Lowering()
        potential = potential_of(name)
        use_backend(potential, way.backend, torch.device("cuda"))
        without_data(potential, self.mode)
        if way.memory is not None:
            potential.compiled = energies.CompiledEnergies(self.lowering, way.memory)
        self.potential = potential

    def cost(self, step: str, atoms: int) -> tuple[Cost, int]:
        """Run a step; its cost, and the bytes that its history keeps."""
        potential, mode = self.potential, self.mode
        # evaluations of so many edges run plain, in tiles
        with pretended_card(), mock.patch.object(energies, "MOST_EDGES", math.inf), self._named():
            graph = graph_without_data(atoms, self.degree * atoms, mode)
            if potential.compiled is not None:
                # plan all graphs first: what planning runs is no part of the step
                with mode, python_engine():
                    run(potential, graph, step, Kept(potential))
            self.lowering.reset()
            for parameter in potential.parameters():
                parameter.grad = None
            kept, meter = Kept(potential), Meter()
            with mode, python_engine(), meter:
                run(potential, graph, step, kept)
        if potential.compiled is not None and potential.compiled.failed:  # type: ignore[attr-defined]
            raise RuntimeError("the compiled stages could not be traced")
        self.eager = meter.total
        return meter.total + self.lowering.total, kept.bytes

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name graphs by the unit that they are compiled for."""
        call = Segment.__call__

        def named(segment: Any, *arguments: Any) -> Any:
            self.lowering.where = segment.part.name
            return call(segment, *arguments)

        with mock.patch.object(Segment, "__call__", named):
            yield


def _count_builtin(name: str, steps: Any) -> Iterator[Row]:
    degree = neighbours()
    for training in sorted({step == "training" for step, _ in steps}, reverse=True):
        start = time.perf_counter()
        graphs = builtin_plan.plan(name, training)
        spent = round(time.perf_counter() - start, 1)
        for step, atoms in steps:
            if (step == "training") == training:
                sizes = atoms, degree * atoms
                total, kept = graphs.cost(*sizes), graphs.kept(*sizes)
                yield Row(name, BUILTIN, step, *sizes, total.flops, total.moved, total.kernels, kept, spent)


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


def main(arguments: list[str] | None = None) -> None:
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("--models", nargs="+", default=["nano", "mini"], choices=list(SIZES), metavar="MODEL")
    command.add_argument("--ways", nargs="+", default=[*WAYS, BUILTIN], choices=[*WAYS, BUILTIN], metavar="WAY")
    command.add_argument("--steps", nargs="+", default=["training", "evaluation"], choices=["training", "evaluation"])
    command.add_argument("--results", type=Path, default=RESULTS, help="rows in this file are replaced or kept")
    command.add_argument("--table", action="store_true", help="print the table of what has been counted")
    options = command.parse_args(arguments)
    rows = {_key(row): row for row in load(options.results)}
    for name in [] if options.table else options.models:
        for way in options.ways:
            for row in count(name, way, [step for step in STEPS if step[0] in options.steps]):
                rows[_key(row)] = row
                save(list(rows.values()), options.results)
                print(row, file=sys.stderr, flush=True)
    print(table(list(rows.values())))


def _key(row: Row) -> tuple[str, str, str, int]:
    return row.network, row.way, row.step, row.atoms


if __name__ == "__main__":
    main()
