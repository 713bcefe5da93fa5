"""Potentials of this package from options, and their evaluation on a frame."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from deepmd_dpa4.config import BridgingConfig, parse_descriptor, parse_fitting
from deepmd_dpa4.descriptor.network import Network
from deepmd_dpa4.fitting.energy import EnergyFitting
from deepmd_dpa4.graph.cutoff import inner_clamp
from deepmd_dpa4.graph.graph import Graph
from deepmd_dpa4.graph.neighbors import Scatter, search
from deepmd_dpa4.model.conditions import Conditions
from deepmd_dpa4.model.isolated import ground_states
from deepmd_dpa4.model.potential import Potential
from deepmd_dpa4.model.tiles import TILE_EDGES
from deepmd_dpa4.model.zbl import repulsion
from deepmd_dpa4.ops.native.load import load
from tests.support.backends import set_native
from tests.support.frames import TYPE_MAP, Frame
from tests.support.options import Options
from tests.support.weights import fill_golden, perturb

GOLDEN_BIAS = (-2.0, -0.5)
KERNELS = ("plain", "native")
NONE = Conditions(None, None, None)


class Result(NamedTuple):
    """Energy (), forces (n, 3) and virial (3, 3) in eV and Angstrom."""

    energy: Tensor
    force: Tensor
    virial: Tensor


def build_potential(
    options: Options,
    fitting: Options | None = None,
    bridging: tuple[float, float] | BridgingConfig | None = None,
    dtype: torch.dtype = torch.float64,
    type_map: list[str] | None = None,
    excluded_types: list[int] | None = None,
) -> Potential:
    """Potential with initial weights; ``bridging`` holds the radii of zone bridging in Angstrom, or all options."""
    if isinstance(bridging, tuple):
        inner, outer = bridging
        bridging = BridgingConfig(bridging_method="zbl", bridging_r_inner=inner, bridging_r_outer=outer)
    type_map = type_map or TYPE_MAP
    config = parse_descriptor(options)
    network = Network(config, len(type_map), dtype, inner_clamp(bridging, type_map))
    fitting_config = parse_fitting({"seed": 1, **(fitting or {})})
    fitting_net = EnergyFitting(fitting_config, len(type_map), config.embedding.channels, dtype)
    zbl = repulsion(bridging, type_map, config.geometry.rcut)
    conditioned = config.embedding.add_chg_spin_ebd and fitting_config.vacuum_ref
    states = ground_states(type_map) if conditioned else None
    return Potential(network, fitting_net, zbl, len(type_map), excluded_types, states).eval()


def golden_potential(options: Options, bridging: tuple[float, float] | None = None) -> Potential:
    """The same with the golden weights and biases."""
    potential = build_potential(options, bridging=bridging)
    fill_golden((f"atomic_model.{name}", parameter) for name, parameter in potential.named_parameters())
    potential.out_bias.copy_(torch.tensor(GOLDEN_BIAS).view(1, 2, 1))
    return potential


def active_potential(options: Options, noise: float = 0.5, **keywords: object) -> Potential:
    """The same with noise on all weights, so that every branch is active."""
    potential = build_potential(options, **keywords)
    perturb(potential, scale=noise)
    potential.out_bias[0, :2, 0] = torch.tensor([-0.3, 0.2])
    return potential


def require(kernels: str) -> None:
    """Skip the test where this machine has no kernels of the kind."""
    if kernels == "native" and not load():
        pytest.skip("this machine cannot have native kernels")


def on_kernels(kernels: str, potential: Potential) -> Potential:
    """The potential, with the kernels chosen."""
    require(kernels)
    set_native(potential, kernels == "native")
    return potential


def graph_of(frame: Frame, rcut: float = 6.0, excluded: Tensor | None = None, ntypes: int = 2) -> Graph:
    cell = None if frame.cell is None else frame.cell.unsqueeze(0)
    return search(frame.coord.unsqueeze(0), frame.types.unsqueeze(0), cell, rcut, ntypes, excluded)


def evaluate(potential: Potential, frame: Frame, rcut: float = 6.0, excluded: Tensor | None = None) -> Result:
    """Energy, forces and virial of one frame."""
    ntypes = potential.out_bias.shape[1]
    out = potential(graph_of(frame, rcut, excluded, ntypes), 1)
    return Result(out["energy"][0], out["force"], out["virial"][0].view(3, 3))


def scatter_of(graph: Graph) -> Scatter:
    """Derivatives go to the nodes of the graph."""
    return Scatter(graph.ends.sender, graph.ends.receiver, graph.ends.n_receivers)


def evaluate_atoms(
    potential: Potential,
    graph: Graph,
    frames: int = 1,
    conditions: Conditions = NONE,
    tiled: bool = True,
    tile_edges: int = TILE_EDGES,
) -> dict[str, Tensor]:
    """All results, with the virial of each atom."""
    scatter, training = scatter_of(graph), potential.training
    return potential.derive(graph, scatter, frames, conditions, training, True, tiled, tile_edges)


def relative_error(value: Tensor, reference: Tensor) -> float:
    """Largest difference over the largest entry of the reference."""
    value, reference = value.detach(), reference.detach()
    return float((value - reference).abs().max() / reference.abs().max().clamp(min=1e-300))
