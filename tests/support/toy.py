"""DeePMD-kit data sets of two distorted molecules in a dense cell, labelled by an analytic pair potential."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tests.support.frames import Frame, golden_frame

TYPES = (0, 1, 1, 0, 1, 1)
BIAS = (-3.0, -1.0)
CUTOFF = 4.0


@dataclass(frozen=True)
class Frames:
    """Labelled frames: coord (f, n, 3), cell (f, 3, 3), energy (f,), force (f, n, 3), virial (f, 9)."""

    coord: np.ndarray
    cell: np.ndarray
    energy: np.ndarray
    force: np.ndarray
    virial: np.ndarray


def label(coord: torch.Tensor, cell: torch.Tensor, types: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
    """Energy, forces and virial (the negative strain derivative of the energy) of one frame."""
    position = coord.clone().requires_grad_(True)
    strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    deform = torch.eye(3, dtype=torch.float64) + strain
    shifts = torch.cartesian_prod(*[torch.arange(-1, 2, dtype=torch.float64)] * 3) @ cell
    vector = (position[None, :, None] - position[None, None, :] + shifts[:, None, None]) @ deform
    distance2 = (vector * vector).sum(-1)
    near = (distance2 > 1e-8) & (distance2 < CUTOFF**2)
    distance = torch.where(near, distance2, torch.ones_like(distance2)).sqrt()
    kind = torch.tensor(types, dtype=torch.float64)
    depth = 0.4 + 0.3 * kind[:, None] * kind[None, :] + 0.2 * (kind[:, None] + kind[None, :])
    pair = depth * torch.exp(-2.0 * (distance - 1.2)) * (1 - distance / CUTOFF) ** 2
    energy = 0.5 * torch.where(near, pair, torch.zeros_like(pair)).sum() + sum(BIAS[t] for t in types)
    slope, stress = torch.autograd.grad(energy, [position, strain])
    return energy.detach(), -slope, -stress.reshape(9)


def toy_frames(count: int, seed: int) -> Frames:
    """Frames around that of the golden values, compressed: every atom has about 15 neighbors within the cutoff."""
    base = golden_frame()
    base = Frame(base.coord - 0.75 * torch.tensor([[0.0], [0], [0], [1], [1], [1]]), base.types, 0.75 * base.cell)
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(count):
        coord = base.coord + 0.12 * torch.randn(6, 3, generator=generator, dtype=torch.float64)
        rows.append((coord, base.cell, *label(coord, base.cell, TYPES)))
    return Frames(*(np.stack([row[i].numpy() for row in rows]) for i in range(5)))


def write_system(
    folder: Path,
    frames: Frames,
    types: tuple[int, ...] = TYPES,
    type_map: tuple[str, ...] = ("O", "H"),
    periodic: bool = True,
) -> Path:
    """Write ``folder``; the conditions (fparam, aparam, charge_spin) are read by models that ask for them alone."""
    count, atoms = frames.coord.shape[:2]
    part = folder / "set.000"
    part.mkdir(parents=True)
    np.save(part / "coord.npy", frames.coord.reshape(count, -1))
    np.save(part / "energy.npy", frames.energy)
    np.save(part / "force.npy", frames.force.reshape(count, -1))
    if periodic:
        np.save(part / "box.npy", frames.cell.reshape(count, 9))
        np.save(part / "virial.npy", frames.virial.reshape(count, 9))
    else:
        (folder / "nopbc").touch()
    np.save(part / "fparam.npy", np.linspace(0.1, 0.9, count).reshape(count, 1))
    np.save(part / "aparam.npy", np.tile(np.linspace(-0.5, 0.5, atoms), (count, 1)))
    np.save(part / "charge_spin.npy", np.tile([1.0, 2.0], (count, 1)))
    (folder / "type.raw").write_text("\n".join(map(str, types)) + "\n")
    (folder / "type_map.raw").write_text("\n".join(type_map) + "\n")
    return folder
