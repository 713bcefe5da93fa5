"""Many structures in one call: a file of a model, and structures of any sizes, compositions and periodicities."""

import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from deepmd.infer import DeepPot
from deepmd.pt.utils.env import DEVICE

from deepmd_dpa4.checkpoint.archive import CHECKPOINT, COMPILED, FileError, open_archive
from deepmd_dpa4.checkpoint.read import read_checkpoint, read_params
from deepmd_dpa4.checkpoint.weights import weights_of
from deepmd_dpa4.config.descriptor import CommonConfig
from deepmd_dpa4.errors import UserError
from deepmd_dpa4.host.compat import READS_CHARGE_SPIN
from deepmd_dpa4.host.untrained import untrained_of
from deepmd_dpa4.inference.batched import Batched
from deepmd_dpa4.inference.framewise import Framewise
from deepmd_dpa4.inference.structure import CONDITIONS, Prediction, Structure

SUFFIXES = (".pt", ".pth", ".pt2")


class Evaluator:
    """Energies, forces and virials of structures from a file.

    Checkpoints and ``.pth`` files of this package evaluate structures of different sizes together, as one graph.
    Other files evaluate structures of equal size together.

    Parameters
    ----------
    model : str or Path
        Checkpoint ``.pt``, or frozen file ``.pth`` or ``.pt2``.
    head : str, optional
        Branch of a multi-task checkpoint.
    device : str, optional
        Where to run; by default where DeePMD-kit does, on a GPU if there is one.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the suffix, the head or the device cannot be.
    """

    def __init__(self, model: str | Path, head: str | None = None, device: str | None = None) -> None:
        self.path = Path(model)
        self.device = torch.device(DEVICE if device is None else device)
        self.potential = open_potential(self.path, head)
        graph_model = _graph_model(self.potential)
        self.backend: Batched | Framewise
        if graph_model is not None:
            self.backend = Batched(graph_model, self.rcut, len(self.type_map), self.device)
        elif self.device.type == DEVICE.type:
            self.backend = Framewise(self.potential)
        else:
            raise ValueError(f"`device` is {device!r} but must be {DEVICE.type!r} for {self.path}")
        self.weights = weights_of(read_checkpoint(self.path)) if self.path.suffix == ".pt" else None
        self.untrained = untrained_of(str(self.path), self.potential)
        self.widths = {
            "fparam": int(self.potential.get_dim_fparam()),
            "aparam": int(self.potential.get_dim_aparam()),
            "charge_spin": 2 if READS_CHARGE_SPIN and self.potential.deep_eval.has_chg_spin_ebd() else 0,
        }

    @property
    def type_map(self) -> list[str]:
        """Names of the types."""
        return list(self.potential.get_type_map())

    @property
    def rcut(self) -> float:
        """Cutoff in Angstrom."""
        return float(self.potential.get_rcut())

    @property
    def precision(self) -> str:
        """Precision of the parameters, ``float32`` or ``float64``."""
        section = self.potential.get_model_def_script().get("descriptor", {})
        return str(section.get("precision", CommonConfig().precision))

    def evaluate(self, structures: Sequence[Structure], *, atomic: bool = False) -> list[Prediction]:
        """Predict structures.

        Parameters
        ----------
        structures : sequence of Structure
            Of any sizes and compositions.
        atomic : bool
            Return the virial of each atom too.

        Returns
        -------
        list[Prediction]
            In the order of the structures.

        Raises
        ------
        ValueError
            If a structure has an element that the model does not know, lacks a condition that the model needs, has
            one that it does not know, or a cell without volume.
        """
        types = {number: self._types(number, structure) for number, structure in enumerate(structures)}
        groups: dict[tuple[Any, ...], dict[int, Structure]] = {}
        for number, structure in enumerate(structures):
            given = tuple(getattr(structure, name) is not None for name in CONDITIONS)
            groups.setdefault((given, *self.backend.group(structure)), {})[number] = structure
        found: dict[int, Prediction] = {}
        for group in groups.values():
            found |= self.backend.predict(group, types, atomic)
        return [found[number] for number in range(len(structures))]

    def _types(self, number: int, structure: Structure) -> np.ndarray:
        """Types of the atoms of a structure, after a check of what depends on the model."""
        known = {name: index for index, name in enumerate(self.type_map)}
        self.untrained.warn(structure.symbols)
        for symbol in structure.symbols:
            if symbol not in known:
                raise ValueError(
                    f"structure {number} has an atom {symbol!r} but must have those of {self.path}: {', '.join(known)}"
                )
        for name, width in self.widths.items():
            value = getattr(structure, name)
            if value is None:
                continue
            if width == 0:
                raise ValueError(f"structure {number} has `{name}` but {self.path} knows no such condition")
            shape = (len(structure.symbols), width) if name == "aparam" else (width,)
            if value.shape != shape:
                raise ValueError(f"`{name}` of structure {number} has shape {value.shape} but must have {shape}")
        return np.array([known[symbol] for symbol in structure.symbols], dtype=np.int64)


def open_potential(path: Path, head: str | None) -> DeepPot:
    """Open a file through DeePMD-kit.

    Raises
    ------
    FileNotFoundError, ValueError
        As :class:`Evaluator`.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"`model` is '{path}' but must end in one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise FileNotFoundError(f"`model` is '{path}' but there is no such file")
    if path.suffix == ".pt":
        check_head(path, head)
    elif head is not None:
        raise ValueError(f"`head` is {head!r} but must be None for '{path}', which holds one model")
    else:
        with open_archive(path) as archive:
            if (archive.kind == COMPILED) != (path.suffix == ".pt2") or archive.kind == CHECKPOINT:
                raise FileError(f"{path} is a {archive.kind} file, which {path.suffix} does not stand for")
    try:
        return DeepPot(str(path), head=head)
    except (RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        if isinstance(error, UserError):
            raise
        raise FileError(f"{path} cannot be opened: {str(error).strip().splitlines()[-1]}") from error


def check_head(path: Path, head: str | None) -> None:
    """Check that a checkpoint can be read and has the branch that is asked for.

    Raises
    ------
    FileError
        As :func:`deepmd_dpa4.checkpoint.read.read_params`.
    ValueError
        If ``head`` names no branch, or is missing where there are several.
    """
    branches = read_params(path).get("model_dict")
    if branches is None:
        if head is not None:
            raise ValueError(f"`head` is {head!r} but must be None for '{path}', which holds one model")
        return
    names = list(branches)
    aliases = [alias for branch in branches.values() for alias in branch.get("model_branch_alias") or []]
    if head is None and "Default" not in [*names, *aliases]:
        raise ValueError(f"`head` is None but must be one of {', '.join(names)}, the branches of '{path}'")
    if head is not None and head.lower() not in [name.lower() for name in [*names, *aliases]]:
        raise ValueError(f"`head` is {head!r} but must be one of {', '.join(names)}, the branches of '{path}'")


def _graph_model(potential: DeepPot) -> torch.nn.Module | None:
    """The model of an open file if it takes systems of different sizes."""
    evaluator = potential.deep_eval
    if getattr(evaluator, "modifier", None) is not None or not hasattr(evaluator, "dp"):
        return None
    model = evaluator.dp.model["Default"]
    return model if hasattr(model, "forward_systems") else None
