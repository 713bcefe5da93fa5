"""Descriptor and fitting net as a DeePMD-kit atomic model, which owns biases, exclusions and statistics."""

from collections.abc import Callable
from typing import Any

import torch
from deepmd.pt.model.atomic_model import DPAtomicModel
from deepmd.pt.utils.env import DEVICE

from deepmd_dpa4.config.elements import ELEMENTS
from deepmd_dpa4.graph.neighbors import check_types
from deepmd_dpa4.host.descriptor import DescriptorDPA4
from deepmd_dpa4.host.fitting import FittingDPA4
from deepmd_dpa4.model.isolated import ground_states
from deepmd_dpa4.model.potential import PotentialMethods, counted_types
from deepmd_dpa4.model.zbl import ZBL, repulsion


class AtomicModelDPA4(PotentialMethods, DPAtomicModel):
    """Atomic energies of DPA4.

    Parameters
    ----------
    descriptor, fitting
        The networks.
    type_map : list[str]
        Names of the types.
    **kwargs
        Of DeePMD-kit's atomic models: exclusions, preset biases and so on.
    """

    def __init__(
        self,
        descriptor: DescriptorDPA4,
        fitting: FittingDPA4,
        type_map: list[str],
        **kwargs: Any,
    ) -> None:
        DPAtomicModel.__init__(self, descriptor, fitting, type_map=type_map, **kwargs)
        self.zbl = self.repulsion_of(type_map)
        self.refer_energies(type_map)
        # the built-in DPA4 stores this constant of its denoising head in every checkpoint
        self.register_buffer("dens_force_rmsd", torch.tensor(1.0, dtype=torch.float64, device=DEVICE))

    def repulsion_of(self, type_map: list[str]) -> ZBL | None:
        """Build the repulsion of nuclei of these types; None without zone bridging."""
        assert isinstance(self.descriptor, DescriptorDPA4)
        zbl = repulsion(self.descriptor.bridging, type_map, self.descriptor.rcut)
        return None if zbl is None else zbl.to(DEVICE)

    def refer_energies(self, type_map: list[str]) -> None:
        """Refer energies to isolated atoms if their biases are given; those fitted to data are no energies of theirs.

        Raises
        ------
        ConfigError
            If the model depends on charge and spin and a type is not the symbol of an element.
        """
        assert isinstance(self.descriptor, DescriptorDPA4)
        referred = self.fitting_net.vacuum_ref and self.preset_out_bias is not None
        conditioned = referred and self.descriptor.has_chg_spin_ebd()
        states = ground_states(type_map).to(DEVICE) if conditioned else None
        self.refer_to_isolated_atoms(referred, states)

    def reinit_atom_exclude(self, exclude_types: list[int] | None = None) -> None:
        """Set the types whose atoms carry no energy."""
        DPAtomicModel.reinit_atom_exclude(self, exclude_types or [])
        counted = counted_types(len(self.type_map), exclude_types or [])
        self.register_buffer("counted", counted.to(DEVICE), persistent=False)

    def compute_or_load_stat(self, sampled_func: Callable[[], list[dict[str, Any]]], *args: Any, **kwargs: Any) -> None:
        """Gather statistics of the training data, whose types are checked before anything is fitted to them.

        Raises
        ------
        ValueError
            If the data hold a type that the model does not know.
        """

        def checked() -> list[dict[str, Any]]:
            sampled = sampled_func()
            for part in sampled:
                try:
                    check_types(part["atype"], len(self.type_map))
                except ValueError as error:
                    raise ValueError(f"training data: {error}, `type_map` = {self.type_map}") from error
            return sampled

        DPAtomicModel.compute_or_load_stat(self, checked, *args, **kwargs)

    def _collect_and_set_observed_type(
        self, sampled_func: Callable[[], list[dict[str, Any]]], stat_file_path: Any, preset_observed_type: Any
    ) -> None:
        """Note the types of the training data in the order of their atomic numbers, unless they are given or stored.

        DeePMD-kit asks a library for each number, which takes about 0.7 s an element.
        """
        from deepmd.dpmodel.utils.stat import _restore_observed_type_from_file, _save_observed_type_to_file

        found = preset_observed_type
        if found is None:
            found = _restore_observed_type_from_file(stat_file_path)
        if found is None:
            found = by_atomic_number(types_of(sampled_func()), self.type_map)
            _save_observed_type_to_file(stat_file_path, found)
        self._observed_type = found

    def change_type_map(self, type_map: list[str], model_with_new_type_stat: Any = None) -> None:
        """Reorder, drop or add types."""
        DPAtomicModel.change_type_map(self, type_map, model_with_new_type_stat)
        self.refer_energies(type_map)
        self.zbl = self.repulsion_of(type_map)


def types_of(sampled: list[dict[str, Any]]) -> list[int]:
    """List the types of frames in ascending order, without those of missing atoms."""
    found = {index for part in sampled for index in part["atype"].unique().tolist()}
    return sorted(index for index in found if index >= 0)


def by_atomic_number(types: list[int], type_map: list[str]) -> list[str]:
    """Name types in the order of the atomic numbers; what is no element comes last."""
    names = [type_map[index] for index in types]
    return sorted(names, key=lambda name: ELEMENTS.index(name) if name in ELEMENTS else len(ELEMENTS))
