"""Names and shapes of the tensors that a model of given options stores."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deepmd_dpa4.checkpoint.index_tables import NUCLEI, index_tables
from deepmd_dpa4.checkpoint.options import named
from deepmd_dpa4.config import BridgingConfig, ConfigError, DescriptorConfig, parse_descriptor, parse_fitting
from deepmd_dpa4.config.parse import parse_group
from deepmd_dpa4.descriptor.network import Network
from deepmd_dpa4.fitting.energy import EnergyFitting
from deepmd_dpa4.graph.cutoff import inner_clamp
from deepmd_dpa4.model.zbl import atomic_numbers

DESCRIPTOR, FITTING = "atomic_model.descriptor.", "atomic_model.fitting_net."
VERSION = f"{DESCRIPTOR}version_tensor"
OLDEST_RULES = 1.0
"""Version of a checkpoint that tells none."""

_NO_SIZES = ("seed", "sel")


@dataclass(frozen=True)
class Layout:
    """What a model of one branch stores.

    Parameters
    ----------
    parameters : dict
        Shapes of trained tensors.
    statistics : dict
        Shapes of stored tensors that depend on data or task.
    derived : dict
        Tensors that follow from the options, with their values.
    """

    parameters: dict[str, tuple[int, ...]]
    statistics: dict[str, tuple[int, ...]]
    derived: dict[str, Tensor]


def layout(params: Mapping[str, Any], numbers: int, dtype: torch.dtype = torch.float32) -> Layout:
    """Lay out the tensors of a ``model`` section.

    Parameters
    ----------
    params : mapping
        The section, with options that this package has.
    numbers : int
        How many numbers the file holds; no width can be larger, and none is allocated.
    dtype : torch.dtype
        Precision of the tables that follow that of the network.

    Raises
    ------
    ConfigError
        If an option is wrong; UnsupportedOption, a kind of it, if only the built-in DPA4 has it.
    """
    for where in ("descriptor", "fitting_net"):
        for key, value in named(params.get(where)).items():
            sizes = [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, int)]
            if key not in _NO_SIZES and max(sizes, default=0) > numbers:
                raise ConfigError(f"`model/{where}/{key}` is {value} but the file holds {numbers} numbers only")
    type_map = params["type_map"]
    config = parse_descriptor(named(params.get("descriptor")))
    bridging = parse_group(BridgingConfig, params, "model")
    network = Network(config, len(type_map), dtype, inner_clamp(bridging, type_map))
    fitting_config = parse_fitting(named(params.get("fitting_net")))
    fitting = EnergyFitting(fitting_config, len(type_map), config.embedding.channels, dtype)
    parts = ((DESCRIPTOR, network), (FITTING, fitting))
    parameters = {
        prefix + name: tuple(value.shape) for prefix, part in parts for name, value in part.named_parameters()
    }
    statistics = {
        f"{FITTING}{name}": tuple(value.shape)
        for name, value in fitting.state_dict().items()
        if FITTING + name not in parameters
    }
    statistics |= dict.fromkeys(("atomic_model.out_bias", "atomic_model.out_std"), (1, len(type_map), 1))
    if fitting_config.default_fparam is not None:
        statistics[f"{FITTING}default_fparam_tensor"] = (len(fitting_config.default_fparam),)
    return Layout(parameters, statistics, _derived(network, config, dtype, parameters, type_map, bridging.enabled))


def _derived(
    network: Network,
    config: DescriptorConfig,
    dtype: torch.dtype,
    parameters: Mapping[str, Any],
    type_map: list[str],
    bridging: bool,
) -> dict[str, Tensor]:
    values = {
        "min_nbor_dist": torch.tensor(-1.0, dtype=torch.float64),
        "atomic_model.dens_force_rmsd": torch.tensor(1.0, dtype=torch.float64),
        f"{DESCRIPTOR}mean": torch.zeros(0, dtype=dtype),
        f"{DESCRIPTOR}stddev": torch.zeros(0, dtype=dtype),
    }
    values |= {DESCRIPTOR + name: value for name, value in network.state_dict().items()}
    values |= {DESCRIPTOR + name: value for name, value in index_tables(config, dtype).items()}
    values[VERSION] = torch.tensor(OLDEST_RULES, dtype=torch.float64)
    if bridging:
        values[NUCLEI] = torch.tensor(atomic_numbers(type_map), dtype=torch.float64)
    return {name: value for name, value in values.items() if name not in parameters}
