"""A frozen file beside the checkpoint that it was made from: both evaluate the same random structures."""

from dataclasses import dataclass

import numpy as np
import torch

from deepmd_dpa4.errors import UserError
from deepmd_dpa4.freeze.random_structures import RandomStructure, displaced, random_structure
from deepmd_dpa4.freeze.runners import Prediction, Runner, prediction, whole_frame
from deepmd_dpa4.host.model import ModelDPA4

FEWEST_ATOMS = 11
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Allowed difference, relative to the largest entry, by precision of the model."""
COARSE = 5e-2
"""The same for half precision."""
SMALLEST = 1e-2
"""What counts as the largest entry at least, in the units below."""
STEP = 1e-6
"""Displacement of the atoms, in Angstrom, that the model's own answer to rounding is measured by."""
ROUNDING = {torch.float64: 1e-14, torch.float32: 1e-6}
"""Displacement that rounds like the arithmetic of a precision: about eight times its epsilon."""
MARGIN = 10.0
"""How many such answers two ways to sum may differ by."""
UNITS = {"energy": "eV/atom", "forces": "eV/Angstrom", "virial": "eV"}


class Disagreement(UserError, ValueError):
    """A frozen file does not compute what its checkpoint does."""


@dataclass(frozen=True)
class Allowance:
    """Allowed difference of a quantity of one structure.

    Parameters
    ----------
    largest : float
        Largest entry; of the energy, without the constant bias of the types.
    answer : float
        Largest change when every atom moves by :data:`STEP`. Two sums of the same terms in another order differ by
        rounding times this slope, which exceeds any fixed fraction where a model is steep.
    dtype : torch.dtype
        Precision of the model.
    """

    largest: float
    answer: float
    dtype: torch.dtype

    @property
    def value(self) -> float:
        """The difference, in the unit of the quantity."""
        fixed = TOLERANCE.get(self.dtype, COARSE) * max(self.largest, SMALLEST)
        return max(fixed, MARGIN * self.answer * ROUNDING.get(self.dtype, 0.0) / STEP)

    def reason(self, unit: str) -> str:
        """Say where the value comes from, for messages."""
        return (
            f"{self.value:.3g} are allowed: the largest is {self.largest:.3g}, and moving the atoms by {STEP:g} "
            f"Angstrom changes those of the checkpoint by {self.answer:.3g} {unit}"
        )


@dataclass(frozen=True)
class Reference:
    """What a checkpoint predicts."""

    structures: list[RandomStructure]
    """A periodic and an open one, with odd numbers of atoms, of all elements that the model was trained for."""
    predictions: list[Prediction]
    """Of each structure."""
    allowances: list[dict[str, Allowance]]
    """For each structure and quantity."""
    rcut: float
    """Cutoff of the model, Angstrom."""


def reference_of(model: ModelDPA4) -> Reference:
    """Predict the random structures by a loaded checkpoint in eager mode.

    Raises
    ------
    Disagreement
        If predictions are not finite.
    """
    model.eval()
    bias = model.atomic_model.out_bias[0, :, 0].detach().cpu().numpy()
    types = model.trained_types()
    atoms = max(FEWEST_ATOMS, len(types) | 1)
    conditions = (model.get_dim_fparam(), model.get_dim_aparam(), model.get_dim_chg_spin())
    structures = [
        random_structure(atoms, types, True, 1, conditions),
        random_structure(atoms + 2, types, False, 2, conditions),
    ]
    dtype = model.atomic_model.descriptor.radial_basis.adam_freqs.dtype
    predictions, allowances = [], []
    for structure in structures:
        output, moved = model(*whole_frame(structure)), model(*whole_frame(displaced(structure, STEP)))
        found, moved = (prediction(one["energy"], one["force"], one["virial"]) for one in (output, moved))
        if not all(np.isfinite(value).all() for value in vars(found).values()):
            raise Disagreement(f"the checkpoint predicts values that are not finite for {structure.name}: not frozen")
        own = output["atom_energy"].detach().cpu().numpy().ravel() - bias[structure.types]
        forces = float(np.abs(found.forces).max())
        largest = {
            "energy": float(np.abs(own).max()),
            "forces": forces,
            "virial": max(forces, float(np.abs(found.virial).max())),
        }
        predictions.append(found)
        allowances.append(
            {name: Allowance(value, difference(found, moved, name), dtype) for name, value in largest.items()}
        )
    return Reference(structures, predictions, allowances, float(model.get_rcut()))


def difference(one: Prediction, other: Prediction, quantity: str) -> float:
    """Find the largest difference of a quantity."""
    return float(np.abs(getattr(one, quantity) - getattr(other, quantity)).max())


def verify(runners: dict[str, Runner], reference: Reference) -> float:
    """Compare every way to evaluate a file with the checkpoint.

    Parameters
    ----------
    runners : dict[str, Runner]
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
    for name, runner in runners.items():
        for structure, expected, allowances in zip(
            reference.structures, reference.predictions, reference.allowances, strict=True
        ):
            found = runner(structure)
            for quantity, allowance in allowances.items():
                off = difference(found, expected, quantity)
                # a comparison with NaN is false
                if not off <= allowance.value:
                    raise Disagreement(
                        f"{quantity} by {name} differ from those of the checkpoint by {off:.3g} {UNITS[quantity]} for "
                        f"{structure.name} ({allowance.reason(UNITS[quantity])})"
                    )
                if quantity == "forces":
                    largest = max(largest, off)
    return largest
