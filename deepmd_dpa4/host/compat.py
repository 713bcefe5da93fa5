"""What differs between the versions of DeePMD-kit that are supported, 3.1 and 3.2.

Each difference is told by what the installed version has, not by its number, and is settled here once. Everything else
in this package uses what both have in common; :mod:`deepmd_dpa4.schema` and :mod:`deepmd_dpa4.detection` alone look for
themselves, since they run before torch is imported and this module needs it.
"""

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import deepmd.pt.model.model as host_models
import torch
from deepmd import __version__ as VERSION
from deepmd.pt.model.atomic_model import DPAtomicModel
from deepmd.pt.utils import nlist as host_nlist
from deepmd.pt.utils.stat import compute_output_stats
from torch import Tensor, nn

__all__ = [
    "BUILD_BUILTIN",
    "BUILD_BUILTIN_SPIN",
    "COMPILED_FILES",
    "READS_CHARGE_SPIN",
    "VERSION",
    "ModelMethods",
    "every_neighbor",
    "folder_data",
    "has_builtin_type",
    "name_parameters",
    "scheduler_counts_from_start",
    "trains_lora",
]

BUILD_BUILTIN = getattr(host_models, "get_sezm_model", None)
BUILD_BUILTIN_SPIN = getattr(host_models, "get_sezm_spin_model", None)
"""Builders of the built-in DPA4, whatever their names are bound to later; None before 3.2."""

READS_CHARGE_SPIN = hasattr(DPAtomicModel, "get_dim_chg_spin")
"""Whether data sets and inference hand over charge and spin of a frame."""

try:
    from deepmd.pt.entrypoints.freeze_pt2 import is_sezm_checkpoint as has_builtin_type

    COMPILED_FILES = True
except ImportError:
    COMPILED_FILES = False

    def has_builtin_type(model_file: str) -> bool:
        """Tell whether a checkpoint is of a type that DeePMD-kit freezes by rules of its own: here there is none."""
        return False


def folder_data(system: Any) -> Any:
    """Return the ``DeepmdData`` of a system of a data set; None for LMDB, which holds all systems in one file."""
    return getattr(system, "data_system", None) or getattr(system, "_data_system", None)


def trains_lora() -> bool:
    """Tell whether the trainer knows low-rank updates."""
    from deepmd.pt.train import training  # here, because the trainer imports the models

    return hasattr(training, "apply_lora_to_sezm")


def name_parameters(optimizer: Any, named: Iterable[tuple[str, nn.Parameter]]) -> None:
    """Give HybridMuon names of parameters, by which it chooses how to update them, before its first step."""
    if hasattr(optimizer, "set_param_names"):
        optimizer.set_param_names(named)
    else:  # 3.1 takes them when it is made
        optimizer._param_name_map.update((id(parameter), name) for name, parameter in named)


def scheduler_counts_from_start() -> bool:
    """Tell whether the learning rate follows the first step of the trainer, besides its own count of steps (3.1)."""
    from deepmd.pt.train import training  # here, because the trainer imports the models

    return not hasattr(training.Trainer, "_create_lr_scheduler")


if "cap_neighbors" in inspect.signature(host_nlist.build_neighbor_list).parameters:

    def every_neighbor(
        coord: Tensor, atype: Tensor, rcut: float, box: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Search pair by pair without a limit, for frozen models.

        Parameters
        ----------
        coord, atype : Tensor
            Positions (frames, atoms, 3) in Angstrom, float64, and types (frames, atoms), negative for padding.
        rcut : float
            Cutoff in Angstrom.
        box : Tensor, optional
            Cells (frames, 9).

        Returns
        -------
        tuple
            Positions (frames, nall, 3) and types (frames, nall) of atoms and images, the owner of each (frames, nall),
            and the neighbours of the atoms (frames, atoms, width), -1 for none.
        """
        return host_nlist.extend_input_and_build_neighbor_list(
            coord, atype, rcut, [0], mixed_types=True, box=box, cap_neighbors=False
        )

else:

    def every_neighbor(
        coord: Tensor, atype: Tensor, rcut: float, box: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Search pair by pair without a limit, for frozen models; the host wants one, so the widest row is measured."""
        frames, atoms = atype.shape
        if box is not None:
            coord = host_nlist.normalize_coord(coord, box.view(frames, 3, 3))
        extended, types, owner = host_nlist.extend_coord_with_ghosts(coord, atype, box, rcut)
        extended = extended.view(frames, -1, 3)
        width = 1
        if atoms > 0:
            distance = torch.cdist(extended[:, :atoms], extended, compute_mode="donot_use_mm_for_euclid_dist")
            width = int((distance <= rcut).sum(dim=-1).max())
        table = host_nlist.build_neighbor_list(
            extended.flatten(1), types, atoms, rcut, [width], distinguish_types=False
        )
        return extended, types, owner, table


if hasattr(DPAtomicModel, "set_eval_descriptor_hook"):

    class ModelMethods:
        """Methods that models need in DeePMD-kit 3.1 besides those of its model classes."""

        # TorchScript reads the annotations of a class, so these exist for the type checker alone.
        if TYPE_CHECKING:
            atomic_model: Any
            predict_atomic_outputs_for_stat: Any

        def recording(self) -> bool:
            """Tell whether ``dp eval-desc`` has asked to keep what the next predictions compute."""
            atomic = self.atomic_model
            return atomic.enable_eval_descriptor_hook or atomic.enable_eval_fitting_last_layer_hook

        def record(self, embedding: dict[str, Tensor]) -> None:
            """Keep descriptors and last hidden features, (frames, atoms, .), as far as they are asked for."""
            if self.atomic_model.enable_eval_descriptor_hook:
                self.atomic_model.eval_descriptor_list.append(embedding["descriptor"])
            if self.atomic_model.enable_eval_fitting_last_layer_hook:
                self.atomic_model.eval_fitting_last_layer_list.append(embedding["atomic_feature"])

        @torch.jit.export
        def get_dim_chg_spin(self) -> int:
            """Return 0: no charge and spin."""
            return 0

        @torch.jit.export
        def get_default_chg_spin(self) -> Tensor | None:
            """Return None."""
            return None

        def change_out_bias(self, merged: Any, bias_adjust_mode: str = "change-by-statistic") -> None:
            """Fit the bias per type to data, or a shift of it to the errors of complete predictions."""
            atomic = self.atomic_model
            if bias_adjust_mode != "change-by-statistic":
                atomic.change_out_bias(merged, bias_adjust_mode=bias_adjust_mode)
                return
            shift, deviation = compute_output_stats(
                merged,
                atomic.get_ntypes(),
                keys=atomic.bias_keys,
                model_forward=self.predict_atomic_outputs_for_stat,
                rcond=atomic.rcond,
                preset_bias=atomic.preset_out_bias,
            )
            atomic._store_out_stat(shift, deviation, add=True)

else:

    class ModelMethods:  # type: ignore[no-redef]
        """DeePMD-kit 3.2 asks models themselves for embeddings and predictions: there is nothing to add."""

        def recording(self) -> bool:
            """Answer no."""
            return False

        def record(self, embedding: dict[str, Tensor]) -> None:
            """Keep nothing."""
