"""How well do products of fields on grids, and whole networks, commute with rotations?

A grid operation is exact if the quadrature integrates products of three harmonics, so what is measured is rounding.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from deepmd_dpa4.config import parse_descriptor, parse_fitting
from deepmd_dpa4.descriptor.network import Network
from deepmd_dpa4.fitting.energy import EnergyFitting
from deepmd_dpa4.graph.neighbors import search
from deepmd_dpa4.model.potential import Potential
from deepmd_dpa4.nn.grid_product import GridTables
from deepmd_dpa4.so3.layout import edge_rows
from deepmd_dpa4.so3.wigner import WignerRows

Row = dict[str, Any]
GRIDS = {"Lebedev": True, "product": False}
PRECISIONS = {"fp64": torch.float64, "fp32": torch.float32}
DEGREES = range(1, 9)
NETWORK_DEGREES = range(1, 6)
NODES, CHANNELS, ATOMS, ROTATIONS = 16, 8, 12, 3
BOX = 4.5
"""Edge of the cube in which the atoms of the test structure lie, Angstrom."""
CLOSEST = 1.1
"""Shortest distance of two of them."""


def rotations(count: int) -> torch.Tensor:
    """Draw rotation matrices, (count, 3, 3)."""
    return torch.tensor(Rotation.random(count, random_state=1).as_matrix())


def packed_rotation(rotation: torch.Tensor, lmax: int) -> torch.Tensor:
    """Compute D(R) of all degrees in packed order, (D, D)."""
    wigner = WignerRows(lmax, lmax, torch.float64)
    _, compact = wigner(*(rotation[row].unsqueeze(0) for row in range(3)))
    rows = edge_rows(lmax, lmax)
    order = [rows.index((degree, m)) for degree in range(lmax + 1) for m in range(-degree, degree + 1)]
    return wigner.dense(compact)[0, order]


def product_error(lmax: int, lebedev: bool, dtype: torch.dtype) -> float:
    """Measure how far the product of two turned fields is from the turned product, relative to its largest entry."""
    tables = GridTables(lmax, None, lebedev, dtype)
    generator = torch.Generator().manual_seed(lmax)
    shape = ((lmax + 1) ** 2, NODES, CHANNELS)
    left, right = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    product = tables.multiply(left.to(dtype), right.to(dtype), None).double()
    worst = 0.0
    for rotation in rotations(ROTATIONS):
        turn = packed_rotation(rotation, lmax)
        operands = [torch.einsum("pq,qnc->pnc", turn, field).to(dtype) for field in (left, right)]
        found = tables.multiply(*operands, None).double()
        expected = torch.einsum("pq,qnc->pnc", turn, product)
        worst = max(worst, float((found - expected).abs().max() / product.abs().max()))
    return worst


def network_error(lmax: int, lebedev: bool, dtype: torch.dtype, options: Row) -> tuple[float, float]:
    """Measure how far energy and forces of a turned structure are off, relative to the energy and the largest force.

    The weights are random, so that every branch takes part.
    """
    changes = {"lmax": lmax, "lebedev_quadrature": lebedev, "s2_activation": [True, True], "use_amp": False, "seed": 1}
    config = parse_descriptor(options | changes | {"precision": {torch.float64: "float64"}.get(dtype, "float32")})
    network = Network(config, 2, dtype, None)
    fitting = EnergyFitting(parse_fitting({"neuron": [0], "seed": 1}), 2, config.embedding.channels, dtype)
    potential = Potential(network, fitting, None, 2).eval()
    shake(potential)
    positions, types = structure()
    energy, forces = evaluated(potential, positions, types, config.geometry.rcut)
    worst = [0.0, 0.0]
    for rotation in rotations(ROTATIONS):
        turned_energy, turned_forces = evaluated(potential, positions @ rotation.T, types, config.geometry.rcut)
        worst[0] = max(worst[0], abs(turned_energy - energy) / abs(energy))
        deviation = (turned_forces - forces @ rotation.T).abs().max() / forces.abs().max()
        worst[1] = max(worst[1], float(deviation))
    return worst[0], worst[1]


def shake(potential: Potential) -> None:
    """Put noise on the weights, since some branches start at zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in potential.named_parameters():
            if not name.endswith("adam_freqs"):
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                width = parameter.shape[-2] ** 0.5 if parameter.dim() >= 2 else 4.0
                parameter.add_((0.1 / width * noise).to(parameter))


def structure() -> tuple[torch.Tensor, torch.Tensor]:
    """Make atoms at random places that are not too close, (atoms, 3), and their types."""
    generator = np.random.default_rng(1)
    places: list[np.ndarray] = []
    while len(places) < ATOMS:
        place = BOX * generator.random(3)
        if all(np.linalg.norm(place - other) > CLOSEST for other in places):
            places.append(place)
    return torch.tensor(np.array(places)), torch.arange(ATOMS) % 2


def evaluated(
    potential: Potential, positions: torch.Tensor, types: torch.Tensor, rcut: float
) -> tuple[float, torch.Tensor]:
    """Compute energy and forces."""
    found = potential(search(positions.unsqueeze(0), types.unsqueeze(0), None, rcut, 2, None), 1)
    return float(found["energy"][0]), found["force"].double()


def measured(options: Row) -> Iterator[Row]:
    """Measure every degree on both grids in both precisions."""
    for lmax in DEGREES:
        for grid, lebedev in GRIDS.items():
            row: Row = {"lmax": lmax, "grid": grid, "points": points(lmax, lebedev)}
            for name, dtype in PRECISIONS.items():
                row[f"product_{name}"] = product_error(lmax, lebedev, dtype)
                if lmax in NETWORK_DEGREES:
                    energy, force = network_error(lmax, lebedev, dtype, options)
                    row |= {f"energy_{name}": energy, f"force_{name}": force}
            yield row


def points(lmax: int, lebedev: bool) -> int:
    """Count the points of the grid of a feed-forward network."""
    from deepmd_dpa4.so3.quadrature import s2_tables

    return len(s2_tables(lmax, lmax, lebedev, edge_order=False, square=True)[0])
