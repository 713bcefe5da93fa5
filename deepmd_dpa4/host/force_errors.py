"""The largest force error of an atom between two lines of the training log, and where it is in the data.

A root mean square over a batch hides a single wrong label or a tear of the potential; the largest error names the
frame to look at.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepmd_dpa4.files import append_text, write_text
from deepmd_dpa4.host.compat import folder_data

log = logging.getLogger("deepmd.dpa4")

PENDING = 64
"""Batches whose maxima wait on the device, so that a GPU is not asked at every step."""
HEADER = "# errors in eV/Angstrom; atoms and frames count from 0, as in the files of the system\n"
COLUMNS = f"#  step {'part':>8s} {'error':>11s} {'atom':>7s} {'type':>4s} {'frame':>7s} system\n"


@dataclass(frozen=True)
class Place:
    """An atom of the data.

    Parameters
    ----------
    error : float
        Norm of the difference between predicted force and label, eV/Angstrom.
    atom : int
        Its position in the files of the system, counted from 0.
    element : str
        Its name in the type map.
    frame : int
        The frame, counted from 0 through all sets of the system in the order of their names.
    system : str
        Path of the system.
    """

    error: float
    atom: int
    element: str
    frame: int
    system: str

    @property
    def size(self) -> float:
        """The error, or infinity where it is not a number."""
        return math.inf if math.isnan(self.error) else self.error


@dataclass(frozen=True)
class Maximum:
    """The largest error of a batch on the device: value, index into frames times atoms, type, and atoms per frame."""

    value: Tensor
    index: Tensor
    type: Tensor
    atoms: int
    frames: list[int]
    dataset: Any
    system: int

    def place(self, type_map: list[str]) -> Place:
        """Find the atom in the data, whose order DeePMD-kit changes: it sorts by type."""
        frame, atom = divmod(int(self.index), self.atoms)
        path, order = locate(self.dataset, self.system)
        return Place(
            float(self.value),
            atom if order is None else int(order[atom]),
            type_map[int(self.type)],
            int(self.frames[frame]),
            path,
        )


def locate(dataset: Any, system: int) -> tuple[str, Any]:
    """Find the path of a system, and for each atom of a batch its position in the files, if it may be another one."""
    systems = getattr(dataset, "systems", None)
    data = folder_data(systems[system]) if systems else None
    if not systems or data is None:
        return str(getattr(dataset, "lmdb_path", "the data set")), None
    return str(systems[system].system), data.idx_map


def largest(force: Tensor, label: Tensor, types: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find the largest force error of a batch without waiting for the device.

    Parameters
    ----------
    force, label : Tensor
        Forces (frames, atoms, 3), eV/Angstrom.
    types : Tensor
        Types (frames, atoms); negative where there is no atom.

    Returns
    -------
    value, index, type : Tensor
        Error, NaN if there is one; its place in the flattened frames and atoms; type of the atom.
    """
    error = torch.linalg.vector_norm(force.detach() - label.reshape(force.shape), dim=-1)
    value, index = error.masked_fill(types < 0, 0.0).flatten().max(dim=0)
    return value, index, types.flatten()[index]


@dataclass
class ForceErrors:
    """Keeps the largest force errors of a training since the last line of its log.

    Parameters
    ----------
    file : Path
        Table that gets a line for each part (training, validation; of each branch).
    type_maps : callable
        Gives the type map of a branch.
    append : bool
        Whether the file goes on, as in a restart.
    """

    file: Path
    type_maps: Callable[[str], list[str]]
    append: bool = False
    batch: tuple[str, Any, dict[str, Any]] | None = None
    pending: dict[tuple[str, str], list[Maximum]] = field(default_factory=dict)
    found: dict[tuple[str, str], Place] = field(default_factory=dict)

    def expect(self, part: str, dataset: Any, origin: dict[str, Any]) -> None:
        """Take note of the batch that the model gets next: ``trn`` or ``val``, its data set, system and frames."""
        self.batch = (part, dataset, origin) if "fid" in origin else None

    def observe(self, _module: Any, _args: Any, given: dict[str, Any], result: Any) -> None:
        """Look at what the wrapper of the models made of a batch; a forward hook."""
        batch, self.batch = self.batch, None
        label = given.get("label")
        if batch is None or not label or not label.get("find_force", 0.0) or "force" not in result[0]:
            return
        part, dataset, origin = batch
        types = given["atype"]
        maxima = self.pending.setdefault((given.get("task_key", "Default"), part), [])
        found = largest(result[0]["force"], label["force"], types)
        maxima.append(Maximum(*found, types.shape[1], origin["fid"], dataset, int(origin["sid"])))
        if len(maxima) >= PENDING:
            self.settle()

    def settle(self) -> None:
        """Read the maxima from the device and keep the largest of each part."""
        for key, maxima in self.pending.items():
            values = torch.stack([maximum.value for maximum in maxima]).nan_to_num(math.inf, math.inf)
            place = maxima[int(values.argmax())].place(self.type_maps(key[0]))
            if key not in self.found or place.size > self.found[key].size:
                self.found[key] = place
        self.pending.clear()

    def report(self, step: int) -> None:
        """Log and write the largest errors, and begin anew."""
        self.settle()
        lines = []
        for (branch, part), place in sorted(self.found.items()):
            name = part if branch == "Default" else f"{branch}_{part}"
            log.info(
                "Batch %7d: %s: largest force error = %.2e eV/A, atom %d (%s), frame %d of %s",
                *(step, name, place.error, place.atom, place.element, place.frame, place.system),
            )
            numbers = f"{place.error:11.2e} {place.atom:7d} {place.element:>4s} {place.frame:7d}"
            lines.append(f"{step:7d} {name:>8s} {numbers} {place.system}\n")
        self.found.clear()
        if lines:
            self._write("".join(lines))

    def _write(self, lines: str) -> None:
        if self.append and self.file.exists():
            append_text(self.file, lines)
        else:
            write_text(self.file, HEADER + COLUMNS + lines)
        self.append = True


def file_beside(curve: str) -> Path:
    """Name the table after the learning curve: ``lcurve_forces.out`` beside ``lcurve.out``."""
    path = Path(curve)
    return path.with_name(f"{path.stem}_forces{path.suffix}")
