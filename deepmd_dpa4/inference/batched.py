"""Structures of any sizes as one graph, for models of this package."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepmd_dpa4.graph.graph import Graph
from deepmd_dpa4.graph.systems import find_edges, join
from deepmd_dpa4.host.loading import as_written
from deepmd_dpa4.inference.structure import Prediction, Structure, name_structure_in_errors
from deepmd_dpa4.model.tiles import TILE_EDGES


class Batched:
    """Evaluation in batches of at most 32,768 edges; a larger structure is a batch of its own.

    Parameters
    ----------
    model : torch.nn.Module
        Has ``forward_systems``: :class:`~deepmd_dpa4.host.model.ModelDPA4`, or its TorchScript form.
    rcut : float
        Cutoff in Angstrom.
    ntypes : int
        Number of types.
    device : torch.device
        Where the model runs; it is moved there.
    """

    def __init__(self, model: Any, rcut: float, ntypes: int, device: torch.device) -> None:
        self.model = model.to(device)
        self.rcut, self.ntypes, self.device = rcut, ntypes, device

    def group(self, structure: Structure) -> tuple[Any, ...]:
        """Return the key of structures that may be predicted together."""
        return ()

    @property
    def reason_without_second_derivatives(self) -> str | None:
        """Why the model has no second derivatives, or None if it has."""
        if hasattr(self.model, "edge_gradient_of_systems"):
            return None
        return "was frozen by an earlier deepmd-dpa4: freeze the checkpoint again"

    @property
    def reason_without_last_layer(self) -> str | None:
        """Why the model does not tell what its last layer reads, or None if it does."""
        schema = getattr(self.model.forward_systems, "schema", None)
        if schema is not None and all(argument.name != "last_layer" for argument in schema.arguments):
            return "was frozen by an earlier deepmd-dpa4: freeze the checkpoint again"
        if any(getattr(module, "refers_to_isolated_atoms", False) for module in self.model.modules()):
            return "refers energies to isolated atoms (`fitting_net/vacuum_ref`), which uncertainties do not cover"
        return None

    def predict(
        self,
        structures: dict[int, Structure],
        types: dict[int, np.ndarray],
        atomic: bool,
        last_layer: bool = False,
    ) -> dict[int, Any]:
        """Yield predictions by the number of the structure."""
        found: dict[int, Prediction] = {}
        for numbers, systems in self.batches(structures, types, TILE_EDGES):
            found |= self._evaluate([structures[number] for number in numbers], numbers, systems, atomic, last_layer)
        return found

    def batches(
        self, structures: dict[int, Structure], types: dict[int, np.ndarray], most_edges: int
    ) -> Iterator[tuple[list[int], list[Graph]]]:
        """Yield numbers of structures, and their edges, up to ``most_edges`` at a time."""
        numbers: list[int] = []
        systems: list[Graph] = []
        edges = 0
        for number, structure in structures.items():
            with name_structure_in_errors(number):
                system = self._edges(structure, types[number])
            if numbers and edges + len(system.vector) > most_edges:
                yield numbers, systems
                numbers, systems, edges = [], [], 0
            numbers.append(number)
            systems.append(system)
            edges += len(system.vector)
        yield numbers, systems

    def _edges(self, structure: Structure, types: np.ndarray) -> Graph:
        coord, atype = self._tensor(structure.positions), torch.as_tensor(types, device=self.device)
        cell = None if structure.cell is None else self._tensor(structure.cell)
        return find_edges(coord, atype, cell, structure.periodic, self.rcut, self.ntypes)

    def _evaluate(
        self,
        structures: Sequence[Structure],
        numbers: list[int],
        systems: list[Graph],
        atomic: bool,
        last_layer: bool,
    ) -> dict[int, Prediction]:
        arguments = self.arguments(structures, systems)
        # files of earlier versions know no argument `last_layer`
        with as_written(self.device):
            result = self.model.forward_systems(*arguments, atomic, *((True,) if last_layer else ()))
        values = {name: value.cpu().numpy() for name, value in result.items()}
        predictions, start = {}, 0
        for row, (number, structure) in enumerate(zip(numbers, structures)):
            atoms = slice(start, start + len(structure.symbols))
            start = atoms.stop
            predictions[number] = Prediction(
                energy=float(values["energy"][row]),
                forces=values["force"][atoms],
                virial=values["virial"][row].reshape(3, 3),
                atom_energies=values["atom_energy"][atoms],
                atom_virials=values["atom_virial"][atoms].reshape(-1, 3, 3) if atomic else None,
                last_layer=values["last_layer"][atoms] if last_layer else None,
            )
        return predictions

    def arguments(self, structures: Sequence[Structure], systems: Sequence[Graph]) -> tuple[Any, ...]:
        """Collect what a model is called with for structures with these edges."""
        batch = join(systems)
        conditions = (
            self._tensor(join_arrays([getattr(structure, name) for structure in structures]))
            if getattr(structures[0], name) is not None
            else None
            for name, join_arrays in (("fparam", np.stack), ("aparam", np.concatenate), ("charge_spin", np.stack))
        )
        edges = torch.stack([batch.ends.sender, batch.ends.receiver])
        return batch.node_type, batch.frame, len(systems), edges, batch.vector, *conditions

    def _tensor(self, values: Any) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float64, device=self.device)
