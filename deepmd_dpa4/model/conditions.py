"""Conditions of a prediction besides atoms and cell."""

from typing import NamedTuple

from torch import Tensor


class Conditions(NamedTuple):
    """Frame and atomic parameters, charge and spin; None where the model takes none."""

    fparam: Tensor | None
    """Parameters of each frame, (frames, numb_fparam)."""
    aparam: Tensor | None
    """Parameters of each owned atom, (N, numb_aparam)."""
    charge_spin: Tensor | None
    """Charge and spin multiplicity of each frame, (frames, 2)."""
