"""Many structures in one call: a file of a model, and structures of any sizes, compositions and periodicities."""

import pickle
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import replace
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
from deepmd_dpa4.host.element_warnings import untrained_of
from deepmd_dpa4.inference.batched import Batched
from deepmd_dpa4.inference.framewise import Framewise
from deepmd_dpa4.inference.second_derivatives import SecondDerivatives, differentiate_twice
from deepmd_dpa4.inference.structure import CONDITIONS, Prediction, Structure
from deepmd_dpa4.uncertainty.archive_entry import UncertaintyError, has_entry, read_entry
from deepmd_dpa4.uncertainty.rigidity import Rigidity

SUFFIXES = (".pt", ".pth", ".pt2")


class Evaluator:
    """Energies, forces and virials of structures from a file.

    Checkpoints and ``.pth`` files of this package evaluate structures of different sizes together, as one graph.
    Other files evaluate structures of equal size together. Files to which ``dpa4 uncertainty`` has added uncertainties
    give those of energies too; if the file has changed since, a warning says so and there are none.

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
        self.branch = branch_of(self.path, head) if self.path.suffix == ".pt" else None
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
        self.needs_charge_spin = self.widths["charge_spin"] > 0 and not self.potential.has_default_chg_spin()
        self.rigidity = self._rigidity()

    def _rigidity(self) -> Rigidity | None:
        """What uncertainties are computed from, if the file holds them."""
        if not has_entry(self.path, self.branch) or self.backend.reason_without_last_layer is not None:
            return None
        try:
            return read_entry(self.path, self.branch).rigidity
        except UncertaintyError as error:
            warnings.warn(str(error), stacklevel=3)
            return None

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

    def require_last_layer(self) -> None:
        """Refuse a model that does not tell what its last layer reads; raises UncertaintyError."""
        reason = self.backend.reason_without_last_layer
        if reason is not None:
            raise UncertaintyError(f"{self.path} {reason}")

    def require_uncertainty(self) -> None:
        """Refuse a file without uncertainties.

        Raises
        ------
        UncertaintyError
            If there are none, or they belong to other weights; the message names the command that computes them.
        """
        self.require_last_layer()
        if self.rigidity is None:
            read_entry(self.path, self.branch)

    def evaluate(
        self,
        structures: Sequence[Structure],
        *,
        atomic: bool = False,
        uncertainty: bool | None = None,
        last_layer: bool = False,
    ) -> list[Prediction]:
        """Predict structures.

        Parameters
        ----------
        structures : sequence of Structure
            Of any sizes and compositions.
        atomic : bool
            Return the virial of each atom too.
        uncertainty : bool, optional
            Return uncertainties of energies; by default if the file holds them.
        last_layer : bool
            Return what the last layer of the fitting network is linear in.

        Returns
        -------
        list[Prediction]
            In the order of the structures.

        Raises
        ------
        ValueError
            If a structure has an element that the model does not know, lacks a condition that the model needs, has
            one that it does not know, or a cell without volume.
        UncertaintyError
            As :meth:`require_uncertainty` and :meth:`require_last_layer`, if they are asked for.
        """
        if uncertainty:
            self.require_uncertainty()
        if last_layer:
            self.require_last_layer()
        rigidity = self.rigidity if uncertainty is not False else None
        types, groups = self._sorted(structures, self.backend)
        found: dict[int, Prediction] = {}
        for group in groups:
            found |= self.backend.predict(group, types, atomic, last_layer or rigidity is not None)
        predictions = [found[number] for number in range(len(structures))]
        if rigidity is not None:
            predictions = [with_uncertainty(prediction, rigidity) for prediction in predictions]
        return predictions if last_layer else [replace(prediction, last_layer=None) for prediction in predictions]

    def second_derivatives(self, structures: Sequence[Structure]) -> list[SecondDerivatives]:
        """Differentiate energies twice by positions and strain, exactly.

        A structure of n atoms costs 3 n + 6 times about what a training step of its size does, those of about the same
        number of atoms together. Memory is that of a training step.

        Parameters
        ----------
        structures : sequence of Structure
            Of any sizes and compositions.

        Returns
        -------
        list[SecondDerivatives]
            In the order of the structures.

        Raises
        ------
        ValueError
            As :meth:`evaluate`.
        FileError
            If the file has no second derivatives: a ``.pt2`` file, one of another model, or of an earlier version.
        """
        reason = self.backend.reason_without_second_derivatives
        if reason is not None or not isinstance(self.backend, Batched):
            raise FileError(f"{self.path} {reason}")
        types, groups = self._sorted(structures, self.backend)
        found: dict[int, SecondDerivatives] = {}
        for group in groups:
            found |= differentiate_twice(self.backend, group, types)
        return [found[number] for number in range(len(structures))]

    def descriptors(self, structures: Sequence[Structure]) -> list[np.ndarray]:
        """Compute what the fitting network reads of each atom; neither forces nor their history.

        Parameters
        ----------
        structures : sequence of Structure
            Of any sizes and compositions; those of one size are evaluated together.

        Returns
        -------
        list of array
            (n, C) of each, in their order.

        Raises
        ------
        ValueError
            As :meth:`evaluate`; or if the file does not tell descriptors.
        """
        by_host = Framewise(self.potential)
        types, groups = self._sorted(structures, by_host)
        found: dict[int, np.ndarray] = {}
        try:
            for group in groups:
                found |= by_host.describe(group, types)
        except NotImplementedError as error:
            raise ValueError(f"{self.path} does not tell descriptors: give a checkpoint .pt or a file .pth") from error
        return [found[number] for number in range(len(structures))]

    def _sorted(
        self, structures: Sequence[Structure], backend: Batched | Framewise
    ) -> tuple[dict[int, np.ndarray], list[dict[int, Structure]]]:
        """Types of the atoms of each structure, and structures that may be predicted together, by their numbers."""
        types = {number: self._types(number, structure) for number, structure in enumerate(structures)}
        groups: dict[tuple[Any, ...], dict[int, Structure]] = {}
        for number, structure in enumerate(structures):
            given = tuple(getattr(structure, name) is not None for name in CONDITIONS)
            groups.setdefault((given, *backend.group(structure)), {})[number] = structure
        return types, list(groups.values())

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
                if name == "charge_spin" and self.needs_charge_spin:
                    raise ValueError(
                        f"structure {number} has no `charge_spin` but {self.path} needs the charge and the spin "
                        "multiplicity of each structure, and has no default"
                    )
                continue
            if width == 0:
                raise ValueError(f"structure {number} has `{name}` but {self.path} knows no such condition")
            shape = (len(structure.symbols), width) if name == "aparam" else (width,)
            if value.shape != shape:
                raise ValueError(f"`{name}` of structure {number} has shape {value.shape} but must have {shape}")
        return np.array([known[symbol] for symbol in structure.symbols], dtype=np.int64)


def with_uncertainty(prediction: Prediction, rigidity: Rigidity) -> Prediction:
    """Add the uncertainties of the energies of a structure and of its atoms to a prediction with features."""
    features = prediction.last_layer
    assert features is not None
    return replace(
        prediction,
        energy_uncertainty=float(rigidity.deviations(features.sum(axis=0, keepdims=True))[0]),
        energies_uncertainty=rigidity.deviations(features),
    )


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
        branch_of(path, head)
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


def branch_of(path: Path, head: str | None) -> str | None:
    """Find the branch of a checkpoint that is asked for, by its own name; None if it holds one model.

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
        return None
    names = {name: name for name in branches}
    for name, branch in branches.items():
        names |= dict.fromkeys(branch.get("model_branch_alias") or [], name)
    if head is None and "Default" not in names:
        raise ValueError(f"`head` is None but must be one of {', '.join(branches)}, the branches of '{path}'")
    wanted = "Default" if head is None else head
    # as DeePMD-kit does, letters of the wanted case first
    for name in (wanted, *names):
        if name in names and name.lower() == wanted.lower():
            return names[name]
    raise ValueError(f"`head` is {head!r} but must be one of {', '.join(branches)}, the branches of '{path}'")


def _graph_model(potential: DeepPot) -> torch.nn.Module | None:
    """The model of an open file if it takes systems of different sizes."""
    evaluator = potential.deep_eval
    if getattr(evaluator, "modifier", None) is not None or not hasattr(evaluator, "dp"):
        return None
    model = evaluator.dp.model["Default"]
    return model if hasattr(model, "forward_systems") else None
