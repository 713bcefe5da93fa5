"""The network as a DeePMD-kit descriptor."""

from typing import Any

import numpy as np
import torch
from deepmd.pt.model.descriptor.base_descriptor import BaseDescriptor
from deepmd.pt.utils.env import DEVICE, PRECISION_DICT
from deepmd.utils.finetune import get_index_between_two_maps, map_pair_exclude_types
from torch import Tensor

from deepmd_dpa4.checkpoint.index_tables import index_tables
from deepmd_dpa4.config import BridgingConfig, parse_descriptor
from deepmd_dpa4.config.descriptor import GeometryConfig
from deepmd_dpa4.config.model import TrainingConfig
from deepmd_dpa4.config.parse import parse_group
from deepmd_dpa4.descriptor.network import Network
from deepmd_dpa4.graph.cutoff import inner_clamp
from deepmd_dpa4.graph.neighbors import from_table
from deepmd_dpa4.host.lora import LowRankPlan, adapt_descriptor
from deepmd_dpa4.host.state import lenient_tables
from deepmd_dpa4.host.statistics import measure_neighbors
from deepmd_dpa4.nn.initial import Initializer

_BRIDGING = ("inner_clamp_r_inner", "inner_clamp_r_outer")


class DescriptorDPA4(BaseDescriptor, Network):
    """DPA4 descriptor; options as in docs/parameters.md.

    Parameters
    ----------
    ntypes : int
        Number of atom types.
    type_map : list[str], optional
        Names of the types.
    bridging : BridgingConfig, optional
        Zone bridging.
    **options
        The ``descriptor`` section of an input. Unknown keys are an error.
    """

    excluded: Tensor
    mean: Tensor
    stddev: Tensor
    default_charge_spin: Tensor | None

    def __init__(
        self, ntypes: int, type_map: list[str] | None = None, bridging: BridgingConfig | None = None, **options: Any
    ) -> None:
        options.pop("type", None)
        config = parse_descriptor(options)
        dtype = PRECISION_DICT[config.common.precision]
        Network.__init__(self, config, ntypes, dtype, inner_clamp(bridging, list(type_map or [])))
        self.config = config
        self.bridging = bridging
        self.low_rank: LowRankPlan | None = None
        self.training_config = TrainingConfig()
        self.ntypes, self.type_map = ntypes, list(type_map or [])
        self.rcut = config.geometry.rcut
        self.add_chg_spin_ebd = config.embedding.add_chg_spin_ebd
        given = config.embedding.default_chg_spin
        default = None if given is None else torch.tensor(given, dtype=torch.float64)
        self.register_buffer("default_charge_spin", default, persistent=False)
        self.sel = self._sel_hint(config.geometry.sel)
        self.register_buffer("mean", torch.zeros(0, dtype=dtype))
        self.register_buffer("stddev", torch.zeros(0, dtype=dtype))
        self.set_excluded([list(pair) for pair in config.geometry.exclude_types])
        self.register_state_dict_post_hook(_add_index_tables)
        lenient_tables(self)
        self.to(DEVICE)
        for parameter in self.parameters():
            parameter.requires_grad &= config.common.trainable

    @staticmethod
    def _sel_hint(sel: int | tuple[int, ...] | str) -> list[int]:
        if isinstance(sel, str):
            return [256]
        return [sel] if isinstance(sel, int) else list(sel)

    def set_excluded(self, pairs: list[list[int]]) -> None:
        """Exclude pairs of types, in both orders."""
        table = torch.zeros([self.ntypes + 1, self.ntypes + 1], dtype=torch.bool)
        for a, b in pairs:
            table[a, b] = table[b, a] = True
        self.exclude_types = pairs
        self.register_buffer("excluded", table.to(DEVICE), persistent=False)

    def forward(  # type: ignore[override]
        self,
        extended_coord: Tensor,
        extended_atype: Tensor,
        nlist: Tensor,
        mapping: Tensor | None = None,
        comm_dict: dict[str, Tensor] | None = None,
        fparam: Tensor | None = None,
        charge_spin: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """Compute the descriptor of the owned atoms from the neighbour table of the host, as standard models call it.

        The host cuts its table at ``sel`` neighbours before it reaches this method, so a full row is refused: the
        row may have lost neighbours.

        Returns
        -------
        tuple
            Descriptor (frames, nloc, C) and four times None.
        """
        if nlist.shape[2] > 0 and nlist.shape[2] == sum(self.sel) and bool((nlist[:, :, -1] >= 0).any()):
            raise ValueError(
                "an atom has at least `descriptor/sel` neighbours within `rcut`, and DeePMD-kit may have dropped "
                "some of them: raise `descriptor/sel`"
            )
        coord = extended_coord.view(nlist.shape[0], -1, 3)
        graph, _ = from_table(
            coord, extended_atype, nlist, mapping, comm_dict, self.rcut, self.ntypes, self.excluded, detach=False
        )
        features = self.features(graph, charge_spin)
        return features.view(nlist.shape[0], nlist.shape[1], -1), None, None, None, None

    def has_native_precision(self) -> bool:
        """Tell whether native kernels exist for the precision of the parameters."""
        return self.radial_basis.adam_freqs.dtype in (torch.float32, torch.float64)

    def get_rcut(self) -> float:
        """Return the cutoff in Angstrom."""
        return self.rcut

    def get_rcut_smth(self) -> float:
        """Return 0: the envelope starts at zero distance."""
        return 0.0

    def get_sel(self) -> list[int]:
        """Return the neighbour capacity hint."""
        return self.sel

    def get_ntypes(self) -> int:
        return self.ntypes

    def get_type_map(self) -> list[str]:
        return self.type_map

    def get_dim_out(self) -> int:
        return self.channels

    def get_dim_emb(self) -> int:
        return self.channels

    def mixed_types(self) -> bool:
        """Ask for one neighbour table for all types."""
        return True

    def has_message_passing(self) -> bool:
        return True

    def need_sorted_nlist_for_lower(self) -> bool:
        return False

    def get_env_protection(self) -> float:
        return 0.0

    def get_dim_chg_spin(self) -> int:
        """Return 2 if the model is conditioned on charge and spin, else 0."""
        return 2 if self.add_chg_spin_ebd else 0

    def has_chg_spin_ebd(self) -> bool:
        return self.add_chg_spin_ebd

    def has_default_chg_spin(self) -> bool:
        return self.default_charge_spin is not None

    def get_default_chg_spin(self) -> Tensor | None:
        return self.default_charge_spin

    def share_params(self, base_class: "DescriptorDPA4", shared_level: int, resume: bool = False) -> None:
        """Use the parameters of ``base_class``; only level 0, everything, exists."""
        if shared_level != 0:
            raise NotImplementedError(f"`shared_dict` level {shared_level}: DPA4 descriptors share everything, level 0")
        if type(self) is not type(base_class):
            raise TypeError("a DPA4 descriptor can only share parameters with another one")
        # the last step before DeePMD-kit makes the optimizer of a multi-task training
        adapt_descriptor(base_class)
        self._modules.update(base_class._modules)
        self._parameters.update(base_class._parameters)

    def change_type_map(self, type_map: list[str], model_with_new_type_stat: Any = None) -> None:
        """Reorder, drop or add types; new types start from the other model or from fresh random rows."""
        remap, _ = get_index_between_two_maps(self.type_map, type_map)
        source = model_with_new_type_stat.state_dict() if model_with_new_type_stat is not None else {}
        init = Initializer(PRECISION_DICT[self.config.common.precision], self.config.common.seed)
        for name, parameter in list(self.named_parameters()):
            if not name.endswith("type_embed.adam_type_embedding") and name != "type_embedding.adam_type_embedding":
                continue
            fresh = source.get(name, init.type_table(len(type_map), parameter.shape[1]).data)[:-1]
            stacked = torch.cat([parameter.data[:-1], fresh.to(parameter.data)])
            table = torch.cat([stacked[np.array(remap)], torch.zeros_like(parameter.data[:1])])
            owner = self.get_submodule(name.rsplit(".", 1)[0])
            owner.adam_type_embedding = torch.nn.Parameter(table, requires_grad=parameter.requires_grad)
        self.type_map, self.ntypes = list(type_map), len(type_map)
        clamp = inner_clamp(self.bridging, self.type_map)
        self.measure_edges.clamp = None if clamp is None else clamp.to(DEVICE)
        self.set_excluded([list(pair) for pair in map_pair_exclude_types(self.exclude_types, remap)])

    def set_stat_mean_and_stddev(self, mean: Any, stddev: Any) -> None:
        """Do nothing: DPA4 keeps no input statistics."""

    def get_stat_mean_and_stddev(self) -> tuple[Tensor, Tensor]:
        return self.mean, self.stddev

    def compute_input_stats(self, merged: Any, path: Any = None) -> None:
        """Do nothing: DPA4 needs no input statistics."""

    @classmethod
    def update_sel(
        cls, train_data: Any, type_map: list[str] | None, local_jdata: dict[str, Any]
    ) -> tuple[dict[str, Any], float]:
        """Measure the training data: fill ``sel: "auto"`` and return the smallest distance."""
        section = dict(local_jdata)
        parse_group(GeometryConfig, section, "model/descriptor")
        smallest, largest = measure_neighbors(train_data, float(section.get("rcut", 6.0)))
        sel = section.get("sel", 256)
        if isinstance(sel, str):
            factor = float(sel.split(":")[1]) if ":" in sel else 1.1
            section["sel"] = 4 * int(np.ceil(max(largest * factor, 1.0) / 4))
        return section, smallest

    def serialize(self) -> dict[str, Any]:
        """Return options and weights as plain data."""
        return {
            "@class": "Descriptor",
            "type": "emfa",
            "@version": 1,
            **self.config.flat(),
            "ntypes": self.ntypes,
            "type_map": self.type_map,
            "exclude_types": self.exclude_types,
            "@variables": {key: value.detach().cpu().numpy() for key, value in self.state_dict().items()},
        }

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> "DescriptorDPA4":
        options = {key: value for key, value in data.items() if not key.startswith("@") and key != "type"}
        descriptor = cls(**options)
        own = descriptor.state_dict()
        descriptor.load_state_dict({key: torch.as_tensor(data["@variables"][key]) for key in own})
        return descriptor


def _add_index_tables(module: DescriptorDPA4, state: dict[str, Tensor], prefix: str, metadata: Any) -> None:
    for key, value in index_tables(module.config, module.radial_basis.adam_freqs.dtype).items():
        state[prefix + key] = value.to(module.version_tensor.device)
