"""A frozen file beside the checkpoint that it was made from: both evaluate the same random structures."""

from dataclasses import dataclass

import numpy as np
import torch

from deepmd_dpa4.host.doors import Door, Prediction, prediction, whole_frame
from deepmd_dpa4.host.model import ModelDPA4
from deepmd_dpa4.host.trial import Trial, random_trial

FEWEST_ATOMS = 11
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Allowed difference, relative to the largest entry, by precision of the model."""
COARSE = 5e-2
"""The same for half precision."""
SMALLEST = 1e-2
"""What counts as the largest entry at least, in the units below."""
UNITS = {"energy": "eV/atom", "forces": "eV/Angstrom", "virial": "eV"}


class Disagreement(ValueError):
    """A frozen file does not compute what its checkpoint does."""


@dataclass(frozen=True)
class Reference:
    """What a checkpoint predicts."""

    structures: list[Trial]
    """A periodic and an open one, with odd numbers of atoms, of all types."""
    predictions: list[Prediction]
    """Of each structure."""
    scales: list[dict[str, float]]
    """Largest entry of each quantity; of the energy, without the constant bias of the types."""
    rcut: float
    """Cutoff of the model, Angstrom."""
    tolerance: float
    """Allowed difference relative to the scales."""


def reference_of(model: ModelDPA4) -> Reference:
    """Predictions of a loaded checkpoint in eager mode.

    Raises
    ------
    Disagreement
        If they are not finite.
    """
    model.eval()
    ntypes = len(model.get_type_map())
    atoms = max(FEWEST_ATOMS, ntypes | 1)
    conditions = (model.get_dim_fparam(), model.get_dim_aparam(), model.get_dim_chg_spin())
    structures = [
        random_trial(atoms, ntypes, True, 1, conditions),
        random_trial(atoms + 2, ntypes, False, 2, conditions),
    ]
    bias = model.atomic_model.out_bias[0, :, 0].detach().cpu().numpy()
    predictions, scales = [], []
    for structure in structures:
        output = model(*whole_frame(structure))
        found = prediction(output["energy"], output["force"], output["virial"])
        if not all(np.isfinite(value).all() for value in vars(found).values()):
            raise Disagreement(f"the checkpoint predicts values that are not finite for {structure.name}: not frozen")
        own = output["atom_energy"].detach().cpu().numpy().ravel() - bias[structure.types]
        forces = np.abs(found.forces).max()
        largest = {"energy": np.abs(own).max(), "forces": forces, "virial": max(forces, np.abs(found.virial).max())}
        predictions.append(found)
        scales.append({name: max(float(value), SMALLEST) for name, value in largest.items()})
    dtype = model.atomic_model.descriptor.radial_basis.adam_freqs.dtype
    return Reference(structures, predictions, scales, float(model.get_rcut()), TOLERANCE.get(dtype, COARSE))


def verify(doors: dict[str, Door], reference: Reference) -> float:
    """Compare every way to evaluate a file with the checkpoint.

    Parameters
    ----------
    doors : dict[str, Door]
        By what they are called in messages.
    reference : Reference
        Predictions of the checkpoint.

    Returns
    -------
    float
        Largest difference of a force component, eV/Angstrom.

    Raises
    ------
    Disagreement
        If a difference exceeds the tolerance; it says what differs by how much.
    """
    largest = 0.0
    for name, door in doors.items():
        for structure, expected, scales in zip(
            reference.structures, reference.predictions, reference.scales, strict=True
        ):
            found = door(structure)
            for quantity, scale in scales.items():
                difference = float(np.abs(getattr(found, quantity) - getattr(expected, quantity)).max())
                allowed = reference.tolerance * scale
                # a comparison with NaN is false
                if not difference <= allowed:
                    raise Disagreement(
                        f"{quantity} by {name} differ from those of the checkpoint by {difference:.3g} "
                        f"{UNITS[quantity]} ({allowed:.3g} are allowed) for {structure.name}"
                    )
                if quantity == "forces":
                    largest = max(largest, difference)
    return largest
