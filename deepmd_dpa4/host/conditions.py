"""Conditions of a prediction: frame and atomic parameters, charge and spin."""

from typing import TYPE_CHECKING

from torch import Tensor

from deepmd_dpa4.model.conditions import Conditions, check_charge_spin


class ConditionMethods:
    """Mixed into :class:`deepmd_dpa4.host.model.ModelDPA4`."""

    # TorchScript reads the annotations of a class, so these exist for the type checker alone.
    if TYPE_CHECKING:
        training: bool

        def get_default_fparam(self) -> Tensor | None: ...
        def get_default_chg_spin(self) -> Tensor | None: ...
        def get_dim_aparam(self) -> int: ...

    def conditions(
        self,
        fparam: Tensor | None,
        aparam: Tensor | None,
        charge_spin: Tensor | None,
        frames: int,
        like: Tensor,
        traced: bool = False,
    ) -> Conditions:
        """Collect the conditions of all frames and atoms, defaults where none are given.

        Charges and spins are checked, except those of a training, which were before it began, and in a traced graph,
        in which nothing may depend on values.
        """
        fparam = self.frame_condition(fparam, self.get_default_fparam(), frames, like)
        charge_spin = self.frame_condition(charge_spin, self.get_default_chg_spin(), frames, like)
        if charge_spin is not None and charge_spin.shape[1] == 2 and not traced and not self.training:
            check_charge_spin(charge_spin)
        atomic: Tensor | None = None
        if aparam is not None and self.get_dim_aparam() > 0:
            atomic = aparam.reshape(-1, self.get_dim_aparam())
        return Conditions(fparam, atomic, charge_spin)

    def frame_condition(self, given: Tensor | None, default: Tensor | None, frames: int, like: Tensor) -> Tensor | None:
        """Return a condition of every frame, (frames, width), or its default."""
        if given is not None:
            return given.view(frames, -1) if given.numel() > 0 else None
        if default is None:
            return None
        return default.to(device=like.device).unsqueeze(0).expand(frames, -1)
