"""Numbers of trained parameters."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from deepmd_dpa4.checkpoint import match_keys
from deepmd_dpa4.checkpoint.index_tables import is_table

BUFFERS = (
    "out_bias",
    "out_std",
    "bias_atom_e",
    "case_embd",
    "dens_force_rmsd",
    "min_nbor_dist",
    "version_tensor",
    "descriptor.mean",
    "descriptor.stddev",
    "lora_scaling",
    "atomic_numbers",
    "degree_index_m",
    "fparam_avg",
    "fparam_inv_std",
    "aparam_avg",
    "aparam_inv_std",
    "default_fparam_tensor",
    "force_embedding.sqrt_2",
    "force_embedding.sqrt_inv_3",
    "force_embedding.sh_norm",
    "cartesian_scale",
)
"""Endings of the names of tensors that are stored beside the parameters and not trained."""


@dataclass(frozen=True)
class Count:
    """Trained parameters of a model."""

    total: int
    descriptor: int
    fitting: int


def is_parameter(name: str, ours: bool = False) -> bool:
    """Tell whether a tensor of a checkpoint is trained; by its name, since a checkpoint does not tell.

    ``ours`` says that the model has no option but those of this package, whose parameters are all known.
    """
    if is_table(name) or name.endswith(BUFFERS):
        return False
    _, inside, rest = name.partition(".descriptor.")
    return not (ours and inside) or match_keys.is_parameter(rest)


def count(sizes: Mapping[str, int]) -> Count:
    """Sum over parameters, whose names and sizes are given."""
    descriptor = sum(size for name, size in sizes.items() if ".descriptor." in name)
    fitting = sum(size for name, size in sizes.items() if "fitting_net." in name)
    return Count(sum(sizes.values()), descriptor, fitting)


def unique(tensors: Mapping[str, Tensor], ours: bool) -> dict[str, Tensor]:
    """Pick parameters by name, those that share memory by the first of their names; see :func:`is_parameter`."""
    seen: set[tuple[int, int]] = set()
    found = {}
    for name, value in tensors.items():
        where = (value.untyped_storage().data_ptr(), int(value.storage_offset()))
        if value.is_floating_point() and is_parameter(name, ours) and (value.numel() == 0 or where not in seen):
            seen.add(where)
            found[name] = value
    return found
