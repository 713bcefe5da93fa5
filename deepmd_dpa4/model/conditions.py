"""Conditions of a prediction besides atoms and cell."""

from typing import NamedTuple

from torch import Tensor

from deepmd_dpa4.charge_spin import CHARGES, MULTIPLICITIES, NEARLY


class Conditions(NamedTuple):
    """Frame and atomic parameters, charge and spin; None where the model takes none."""

    fparam: Tensor | None
    """Parameters of each frame, (frames, numb_fparam)."""
    aparam: Tensor | None
    """Parameters of each owned atom, (N, numb_aparam)."""
    charge_spin: Tensor | None
    """Charge and spin multiplicity of each frame, (frames, 2)."""


def check_charge_spin(
    charge_spin: Tensor,
    lowest: int = CHARGES[0],
    highest: int = CHARGES[1],
    multiplicity: int = MULTIPLICITIES[1],
    nearly: float = NEARLY,
) -> None:
    """Refuse charges and spin multiplicities of frames, (frames, 2), that have no row of their own.

    Raises
    ------
    ValueError
        If one is no integer or out of range.
    """
    if charge_spin.numel() > 0:
        rounding = float((charge_spin - charge_spin.round()).abs().max())
        smallest, largest = charge_spin.amin(dim=0), charge_spin.amax(dim=0)
        inside = float(smallest[0]) > lowest - 0.5 and float(largest[0]) < highest + 0.5
        inside = inside and float(smallest[1]) > -0.5 and float(largest[1]) < multiplicity + 0.5
        if not (inside and rounding <= nearly):
            raise ValueError(
                f"`charge_spin` holds charges from {float(smallest[0])} to {float(largest[0])} and spin multiplicities "
                f"from {float(smallest[1])} to {float(largest[1])}, but must hold integers: charges from {lowest} to "
                f"{highest}, multiplicities up to {multiplicity}"
            )
