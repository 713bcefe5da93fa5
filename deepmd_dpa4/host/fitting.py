"""The energy network as a DeePMD-kit fitting net."""

from typing import Any

import numpy as np
import torch
from deepmd.dpmodel.output_def import FittingOutputDef, OutputVariableDef
from deepmd.pt.model.task.fitting import Fitting
from deepmd.pt.utils.env import DEVICE, PRECISION_DICT
from deepmd.utils.finetune import get_index_between_two_maps
from torch import Tensor

from deepmd_dpa4.config import parse_fitting
from deepmd_dpa4.fitting.energy import EnergyFitting


class FittingDPA4(EnergyFitting, Fitting):
    """``dpa4_ener``; options as in docs/parameters.md.

    Parameters
    ----------
    ntypes : int
        Number of atom types.
    dim_descrpt : int
        Width of the descriptor.
    type_map : list[str], optional
        Names of the types.
    mixed_types : bool
        Always true: one network serves all types.
    **options
        The ``fitting_net`` section of an input. Unknown keys are an error.
    """

    default_fparam_tensor: Tensor | None

    def __init__(
        self,
        ntypes: int,
        dim_descrpt: int,
        type_map: list[str] | None = None,
        mixed_types: bool = True,
        **options: Any,
    ) -> None:
        options.pop("type", None)
        config = parse_fitting(options)
        EnergyFitting.__init__(self, config, ntypes, dim_descrpt, PRECISION_DICT[config.precision])
        self.config = config
        self.ntypes, self.dim_descrpt, self.type_map = ntypes, dim_descrpt, list(type_map or [])
        self.numb_fparam, self.numb_aparam = config.numb_fparam, config.numb_aparam
        given = config.default_fparam
        default = None if given is None else torch.tensor(given, dtype=torch.float64)
        self.register_buffer("default_fparam_tensor", default)
        self.stats: Any = None
        self.to(DEVICE)
        trainable = config.trainable if isinstance(config.trainable, bool) else all(config.trainable)
        for parameter in self.parameters():
            parameter.requires_grad = trainable

    def output_def(self) -> FittingOutputDef:
        variable = OutputVariableDef("energy", [1], reducible=True, r_differentiable=True, c_differentiable=True)
        return FittingOutputDef([variable])

    def forward(
        self,
        descriptor: Tensor,
        atype: Tensor,
        gr: Tensor | None = None,
        g2: Tensor | None = None,
        h2: Tensor | None = None,
        fparam: Tensor | None = None,
        aparam: Tensor | None = None,
        return_atomic_feature: bool = False,
    ) -> dict[str, Tensor]:
        """Compute energies (frames, nloc, 1) from descriptors (frames, nloc, C), as standard models call it."""
        frames, nloc = atype.shape
        per_atom: Tensor | None = None
        if fparam is not None:
            per_atom = fparam.unsqueeze(1).expand(frames, nloc, -1).flatten(0, 1)
        atomic: Tensor | None = None
        if aparam is not None:
            atomic = aparam.reshape(frames * nloc, -1)
        energy, hidden = self.evaluate(descriptor.flatten(0, 1), per_atom, atomic)
        result = {"energy": energy.view(frames, nloc, 1)}
        if return_atomic_feature:
            result["atomic_feature"] = hidden.view(frames, nloc, -1)
        return result

    def get_dim_fparam(self) -> int:
        return self.numb_fparam

    def get_dim_aparam(self) -> int:
        return self.numb_aparam

    def has_default_fparam(self) -> bool:
        return self.default_fparam_tensor is not None

    def get_default_fparam(self) -> Tensor | None:
        return self.default_fparam_tensor

    def get_sel_type(self) -> list[int]:
        """Return an empty list: all types."""
        empty: list[int] = []
        return empty

    def get_type_map(self) -> list[str]:
        return self.type_map

    def set_return_middle_output(self, return_middle_output: bool = True) -> None:
        """Do nothing: the last hidden features, for which DeePMD-kit 3.1 asks next, are always at hand."""

    def reinit_exclude(self, exclude_types: list[int] | None = None) -> None:
        """Do nothing: types without energy are the atomic model's business."""

    def set_case_embd(self, case_idx: int) -> None:
        """Become the network of one task of a multi-task training."""
        if self.case_embd is None:
            raise ValueError("`fitting_net/dim_case_embd` is 0 but a task index was set")
        if case_idx >= len(self.case_embd):
            raise ValueError(
                f"`fitting_net/dim_case_embd` is {len(self.case_embd)} but must be at least the number of branches"
            )
        self.case_embd.zero_()
        self.case_embd[case_idx] = 1.0

    def change_type_map(self, type_map: list[str], model_with_new_type_stat: Any = None) -> None:
        """Reorder the table of biases; the network does not know types."""
        remap, _ = get_index_between_two_maps(self.type_map, type_map)
        stacked = torch.cat([self.bias_atom_e, self.bias_atom_e.new_zeros([len(type_map), 1])])
        self.bias_atom_e = stacked[np.array(remap)]
        self.type_map, self.ntypes = list(type_map), len(type_map)

    def serialize(self) -> dict[str, Any]:
        """Return options and weights as plain data."""
        options = {key: getattr(self.config, key) for key in self.config.__dataclass_fields__}
        return {
            "@class": "Fitting",
            "type": "emfa_ener",
            "@version": 1,
            **{key: list(value) if isinstance(value, tuple) else value for key, value in options.items()},
            "ntypes": self.ntypes,
            "dim_descrpt": self.dim_descrpt,
            "type_map": self.type_map,
            "@variables": {key: value.detach().cpu().numpy() for key, value in self.state_dict().items()},
        }

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> "FittingDPA4":
        options = {key: value for key, value in data.items() if not key.startswith("@") and key != "type"}
        fitting = cls(**options)
        fitting.load_state_dict({key: torch.as_tensor(value) for key, value in data["@variables"].items()})
        return fitting
