"""Data that the measures against holes and spikes are tried on, as folders of DeePMD data."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from systems import WATER

from deepmd_dpa4.tools.data.frame import Frame, Place
from deepmd_dpa4.tools.data.reader import frames_at
from deepmd_dpa4.tools.data.writer import Layout, Writer

EVERY = 10
"""Every tenth frame of a file validates."""


@dataclass(frozen=True)
class System:
    """A small data set and what a training on it needs."""

    isolated: Mapping[str, float]
    """Energies of isolated atoms in eV by element; the elements are the type map in this order."""
    rcut: float
    """Angstrom."""
    batch: int
    """Frames of a batch."""
    file: str | None = None
    """Below the folder of data; None for the water of the examples."""


SYSTEMS: Mapping[str, System] = {
    # tblite 0.8.0, GFN1-xTB, lowest spins
    "water": System({"O": -118.44170, "H": -10.92345}, rcut=4.5, batch=1),
    # the published cohesive energy of PBE, 4.55 eV, above the crystal of the data, -5.42 eV/atom
    "Si": System({"Si": -0.87}, rcut=5.0, batch=1, file="mlearn/Si-training.xyz"),
    # isolated_atoms.xyz beside the data
    "AcAc": System({"H": -13.568422, "C": -1026.8539, "O": -2037.796869}, 5.0, batch=5, file="acac/train_300K.xyz"),
}


def prepare(name: str, data: Path, folder: Path, frames: int | None) -> tuple[Path, Path]:
    """Write training and validation data, or find them; with ``frames`` so few are trained on, evenly spaced."""
    valid, train = folder / "valid", folder / f"train-{frames or 'all'}"
    parts = None
    for path in (valid, train):
        if not path.exists():
            parts = parts or split(name, data)
            chosen = parts[path is train]
            if path is train and frames:
                chosen = [chosen[int(n)] for n in np.linspace(0, len(chosen) - 1, frames).round()]
            with Writer(path, Layout(type_map=tuple(SYSTEMS[name].isolated))) as writer:
                for frame in chosen:
                    writer.add(frame)
    return train, valid


def split(name: str, data: Path) -> tuple[list[Frame], list[Frame]]:
    """Read the frames that validate and those that train; of a file, every tenth of each configuration type."""
    file = SYSTEMS[name].file
    if file is None:
        return list(frames_at([WATER / "data" / "valid"])), list(frames_at([WATER / "data" / "train"]))
    ordered = sorted(ase.io.read(data / file, ":"), key=kind)
    groups = [list(group) for _, group in groupby(ordered, key=kind)]
    frames = [[frame(atoms, Place(file, n)) for n, atoms in enumerate(group)] for group in groups]
    return (
        [one for group in frames for one in group[::EVERY]],
        [one for group in frames for n, one in enumerate(group) if n % EVERY],
    )


def kind(atoms: Atoms) -> str:
    """Return the configuration type of a frame."""
    return str(atoms.info.get("config_type"))


def frame(atoms: Atoms, place: Place) -> Frame:
    """Make a labelled frame."""
    cell = atoms.cell.array if atoms.pbc.any() else None
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    return Frame(place, tuple(atoms.symbols), atoms.positions, cell, energy, forces)
