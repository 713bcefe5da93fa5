"""The ways in which Python and LAMMPS evaluate a frozen file, each on one structure."""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
import torch
from deepmd.infer import DeepPot
from deepmd.pt.utils.env import DEVICE
from torch import Tensor

from deepmd_dpa4.freeze.archive import RANKS
from deepmd_dpa4.freeze.random_structures import SKIN, RandomStructure, neighbor_table


@dataclass(frozen=True)
class Prediction:
    """Of one structure: mean energy of an atom, eV; forces (n, 3), eV/Angstrom; virial (9,), eV."""

    energy: np.ndarray
    forces: np.ndarray
    virial: np.ndarray


Runner = Callable[[RandomStructure], Prediction]
"""One way to evaluate a file."""


def script_runners(path: Path, rcut: float, modified: bool) -> dict[str, Runner]:
    """Return the ways to evaluate a TorchScript file; with a data modifier, those that it does not act on.

    TorchScript does not optimise the model, which would take longer than all evaluations here.
    """
    model = torch.jit.load(str(path), map_location=DEVICE)

    def forward(structure: RandomStructure) -> Prediction:
        with torch.jit.optimized_execution(False):
            output = model.forward(*whole_frame(structure))
        return prediction(output["energy"], output["force"], output["virial"])

    def forward_lower(structure: RandomStructure) -> Prediction:
        table = neighbor_table(structure, rcut + SKIN)
        owner = tensor(table.owner[None])
        with torch.jit.optimized_execution(False):
            output = model.forward_lower(
                strided(table.coord[None]),
                tensor(structure.types[table.owner][None]),
                tensor(table.neighbors[None]),
                owner,
                *conditions_of(structure)[:2],
                True,
                charge_spin=conditions_of(structure)[2],
            )
        extended = output["extended_force"][0]
        forces = extended.new_zeros([len(structure.types), 3]).index_add(0, owner[0], extended)
        return prediction(output["energy"], forces, output["virial"])

    runners: dict[str, Runner] = {"`forward`": forward, "`forward_lower` as LAMMPS calls it": forward_lower}
    if not modified:
        runners["DeepPot"] = python_runner(path)
    return runners


def python_runner(path: Path) -> Runner:
    """Open DeePMD-kit's Python interface to a file."""
    potential = DeepPot(str(path))

    def evaluate(structure: RandomStructure) -> Prediction:
        energy, forces, virial = evaluated(potential, structure)
        return prediction(torch.tensor(energy), torch.tensor(forces), torch.tensor(virial))

    return evaluate


def evaluated(potential: DeepPot, structure: RandomStructure) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute energy, forces and virial of one structure by an open file, eV and Angstrom."""
    coord = np.asfortranarray(structure.coord[None])
    cell = None if structure.cell is None else structure.cell.reshape(1, 9)
    values = {name: getattr(structure, name) for name in ("fparam", "aparam", "charge_spin")}
    conditions = {name: value[None] for name, value in values.items() if value is not None}
    energy, forces, virial = potential.eval(coord, cell, structure.types.tolist(), **conditions)[:3]
    return energy, forces, virial


def compiled_runners(path: Path, rcut: float) -> dict[str, Runner]:
    """Return the ways to evaluate a compiled file, which holds two graphs: one rank of LAMMPS runs that of Python."""
    return {"DeepPot": python_runner(path), "the graph for several ranks": ranks_runner(path, rcut)}


def ranks_runner(path: Path, rcut: float) -> Runner:
    """Open the graph for several ranks, of which there is one: it sends to itself."""
    from torch._inductor import aoti_load_package

    with NamedTemporaryFile(suffix=".pt2") as file, zipfile.ZipFile(path) as archive:
        file.write(archive.read(RANKS))
        file.flush()
        graph = aoti_load_package(file.name)

    def evaluate(structure: RandomStructure) -> Prediction:
        table = neighbor_table(structure, rcut)
        atoms, everyone = len(structure.types), len(table.owner)
        receiver, column = np.nonzero(table.neighbors >= 0)
        sender = table.neighbors[receiver, column]
        edges = tensor(np.stack([sender, receiver]))
        types, owner = tensor(structure.types[table.owner][None]), tensor(table.owner)
        # the operator is handed the address of this array
        sent = table.owner[atoms:].astype(np.int32)
        conditions = [value for value in conditions_of(structure) if value is not None]
        energy, force, virial = outputs(
            graph(
                tensor(table.coord[None]),
                types[:, :atoms].contiguous(),
                types,
                edges,
                tensor(table.coord[sender] - table.coord[receiver]),
                edges.clone(),
                torch.ones(len(sender), dtype=torch.bool, device=DEVICE),
                *conditions,
                torch.tensor([sent.ctypes.data]),
                *(torch.tensor([value], dtype=torch.int32) for value in (0, 0, len(sent), len(sent))),
                torch.zeros(1, dtype=torch.int64),
                torch.tensor(atoms, dtype=torch.int32),
                torch.tensor(everyone - atoms, dtype=torch.int32),
            )
        )
        force = force.reshape(everyone, 3)
        return prediction(energy, force.new_zeros([atoms, 3]).index_add(0, owner, force), virial)

    return evaluate


def outputs(found: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Pick energy, forces and virial under DeePMD-kit's internal names."""
    return found["energy_redu"], found["energy_derv_r"], found["energy_derv_c_redu"]


def whole_frame(structure: RandomStructure) -> tuple[Any, ...]:
    """Make the arguments of ``forward``."""
    cell = None if structure.cell is None else tensor(structure.cell.reshape(1, 9))
    fparam, aparam, charge_spin = conditions_of(structure)
    return strided(structure.coord[None]), tensor(structure.types[None]), cell, fparam, aparam, False, charge_spin


def conditions_of(structure: RandomStructure) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return frame and atomic parameters, charge and spin."""
    values = (structure.fparam, structure.aparam, structure.charge_spin)
    fparam, aparam, charge_spin = (None if value is None else tensor(value[None]) for value in values)
    return fparam, aparam, charge_spin


def tensor(values: np.ndarray) -> Tensor:
    """Copy values to the device of DeePMD-kit."""
    return torch.tensor(values, device=DEVICE)


def strided(values: np.ndarray) -> Tensor:
    """Copy values as a view of a larger tensor, which is not contiguous, as a caller's slice would be."""
    return torch.stack([tensor(values), torch.full(values.shape, torch.nan, device=DEVICE)], dim=-1)[..., 0]


def prediction(energy: Tensor, forces: Tensor, virial: Tensor) -> Prediction:
    """Make a prediction of one frame, whatever the shapes are."""
    forces = forces.reshape(-1, 3)
    values = (energy.flatten() / forces.shape[0], forces, virial.flatten())
    return Prediction(*(value.detach().cpu().numpy() for value in values))
