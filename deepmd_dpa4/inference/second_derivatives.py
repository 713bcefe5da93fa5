r"""Second derivatives of the energy by positions and strain, exact: Hessian, internal strain, elastic constants.

The energy depends on the edge vectors :math:`v_e = F (v_e^0 + u_j - u_i)` with the displacements u of the atoms and the
deformation :math:`F = (1 + 2 \eta)^{1/2} = 1 + \eta - \eta^2/2 + ...` of the strain :math:`\eta`. With its gradient g
and its second derivative H by the edge vectors,

.. math:: \frac{\partial^2 E}{\partial x\,\partial y} =
    \sum_{ef} \frac{\partial v_e}{\partial x} H_{ef} \frac{\partial v_f}{\partial y}
    + \sum_e g_e \frac{\partial^2 v_e}{\partial x\,\partial y}.

One direction y gives one product of H, which is the derivative of g contracted with :math:`\partial v / \partial y`:
3 n + 6 of them give all second derivatives of a structure, and of all others beside it.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from deepmd_dpa4.graph.graph import Ends, Graph
from deepmd_dpa4.graph.systems import join
from deepmd_dpa4.host.loading import as_written
from deepmd_dpa4.inference.batched import Batched
from deepmd_dpa4.inference.structure import Array, Structure
from deepmd_dpa4.model.derivatives import frame_virial

MOST_EDGES = 8192
"""Edges of a batch: all of its history is in memory."""
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Components xx, yy, zz, yz, xz, xy of a strain; shear components are twice those of the tensor."""


@dataclass(frozen=True, eq=False)
class SecondDerivatives:
    """Energy of a structure of n atoms and its derivatives; eV and Angstrom.

    The six components of the strain are in the order of Voigt, xx, yy, zz, yz, xz, xy, shear components twice those of
    the tensor (engineering strains). The strain is that of Lagrange and Green.
    """

    energy: float
    """eV."""
    forces: Array
    """(n, 3)."""
    virial: Array
    """As in :class:`~deepmd_dpa4.inference.structure.Prediction`, (3, 3)."""
    hessian: Array
    """Second derivatives by positions, (n, 3, n, 3), eV/A^2; symmetric."""
    internal_strain: Array
    """Second derivatives by a position, at fixed strain, and by a strain, (n, 3, 6), eV/A."""
    strain_hessian: Array
    """Second derivatives by strains with all atoms following the strain, (6, 6), eV; symmetric."""
    volume: float | None
    """Volume of the cell, A^3; None unless all directions are periodic."""

    def elastic_constants(self, relaxed: bool = True) -> Array:
        r"""Compute the elastic constants, (6, 6), eV/A^3 (160.2177 GPa).

        .. math:: C = \frac{1}{V} \left( E_{\eta\eta} - E_{u\eta}^T E_{uu}^{-1} E_{u\eta} \right)

        with the second derivatives by strain and displacements (Wallace, *Thermodynamics of Crystals*); without the
        second term if atoms follow the strain (clamped ions). They are those of stress against strain where there is no
        stress; both differ by terms of the stress elsewhere.

        Parameters
        ----------
        relaxed : bool
            Whether atoms move to where no force acts on them. The structure has to be relaxed then.

        Raises
        ------
        ValueError
            If a direction is not periodic; or with ``relaxed``, if the structure is no minimum of the energy.
        """
        if self.volume is None:
            raise ValueError("elastic constants were asked for but the structure must be periodic in all directions")
        clamped = self.strain_hessian
        return (clamped - self._relaxation() if relaxed else clamped) / self.volume

    def _relaxation(self) -> Array:
        """What the displacements of the atoms take from the second derivatives by strains, (6, 6), eV."""
        size = 3 * len(self.forces)
        # an orthonormal basis of all displacements but the three translations
        translations = np.tile(np.eye(3), (len(self.forces), 1))
        internal = np.linalg.qr(translations, mode="complete")[0][:, 3:]
        hessian = internal.T @ self.hessian.reshape(size, size) @ internal
        strain = internal.T @ self.internal_strain.reshape(size, 6)
        lowest = float(np.linalg.eigvalsh(hessian).min(initial=np.inf))
        if not lowest > 0:
            raise ValueError(
                f"the lowest eigenvalue of the Hessian is {lowest:.4g} eV/A^2 but must be positive: relax the atoms, "
                "or ask for `relaxed=False`"
            )
        return np.asarray(strain.T @ np.linalg.solve(hessian, strain))


def differentiate_twice(
    batched: Batched, structures: dict[int, Structure], types: dict[int, np.ndarray]
) -> dict[int, SecondDerivatives]:
    """Differentiate structures, by their numbers, those of about the same number of atoms together."""
    order = sorted(structures, key=lambda number: len(structures[number].symbols))
    found: dict[int, SecondDerivatives] = {}
    for numbers, systems in batched.batches({number: structures[number] for number in order}, types, MOST_EDGES):
        chosen = [structures[number] for number in numbers]
        arguments = batched.arguments(chosen, systems)
        with as_written(batched.device):
            result = batched.model.edge_gradient_of_systems(*arguments)
        parts = _differentiate(result, join(systems), len(systems))
        energies = sum_rows(result["energy"], arguments[1], len(systems)).tolist()
        for number, structure, energy, part in zip(numbers, chosen, energies, parts):
            found[number] = replace(part, energy=energy, volume=volume_of(structure))
    return found


def volume_of(structure: Structure) -> float | None:
    """Volume of the cell, A^3; None unless all directions are periodic."""
    if not all(structure.periodic):
        return None
    return abs(float(np.linalg.det(np.asarray(structure.cell, dtype=np.float64))))


def _differentiate(result: dict[str, Tensor], batch: Graph, systems: int) -> list[SecondDerivatives]:
    """All derivatives of the systems of a batch, but energies and volumes."""
    gradient, vector = result["gradient"], result["vector"]
    ends, first = batch.ends, gradient.detach()
    of_edge = batch.frame.index_select(0, ends.receiver)
    sizes = torch.bincount(batch.frame, minlength=systems)
    largest = int(sizes.max())
    starts = torch.cumsum(sizes, 0) - sizes
    strains = strain_directions().to(vector)
    flat = vector.detach()

    def product(direction: Tensor) -> Tensor:
        """H times a direction, (E, 3)."""
        if not gradient.requires_grad:
            return torch.zeros_like(flat)
        (found,) = torch.autograd.grad([gradient], [vector], [direction], retain_graph=True, allow_unused=True)
        return torch.zeros_like(flat) if found is None else found

    hessian = torch.zeros([len(batch.node_type), 3, largest, 3], dtype=torch.float64, device=flat.device)
    for atom in range(largest):
        moved = starts[sizes > atom] + atom
        for axis in range(3):
            displacement = torch.zeros([len(batch.node_type), 3], dtype=flat.dtype, device=flat.device)
            displacement[moved, axis] = 1.0
            direction = displacement.index_select(0, ends.sender) - displacement.index_select(0, ends.receiver)
            hessian[:, :, atom, axis] = at_atoms(product(direction), ends)
    internal = torch.zeros([len(batch.node_type), 3, 6], dtype=torch.float64, device=flat.device)
    curvature = torch.zeros([systems, 6, 6], dtype=torch.float64, device=flat.device)
    virial = frame_virial(first, flat, of_edge, systems).view(-1, 3, 3)
    for column, strain in enumerate(strains):
        found = product(flat @ strain)
        internal[:, :, column] = at_atoms(found + first @ strain, ends)
        work = torch.stack([(found * (flat @ other)).sum(dim=1) for other in strains], dim=1)
        twice = strains @ strain + strain @ strains
        curvature[:, :, column] = sum_rows(work, of_edge, systems) + 0.5 * torch.einsum("sij,aij->sa", virial, twice)
    forces = -at_atoms(first, ends)
    squares = [
        hessian[start : start + size, :, :size].reshape(3 * size, 3 * size)
        for start, size in zip(starts.tolist(), sizes.tolist())
    ]
    return [
        SecondDerivatives(
            energy=np.nan,
            forces=forces[start : start + size].cpu().numpy(),
            virial=virial[system].cpu().numpy(),
            hessian=_symmetric(squares[system]).reshape(size, 3, size, 3),
            internal_strain=internal[start : start + size].cpu().numpy(),
            strain_hessian=_symmetric(curvature[system]),
            volume=None,
        )
        for system, (start, size) in enumerate(zip(starts.tolist(), sizes.tolist()))
    ]


def strain_directions() -> Tensor:
    """Tensors of the six unit strains, (6, 3, 3), symmetric."""
    tensors = torch.zeros([6, 3, 3], dtype=torch.float64)
    for index, (row, column) in enumerate(VOIGT):
        tensors[index, row, column] += 0.5
        tensors[index, column, row] += 0.5
    return tensors


def sum_rows(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """Add each row of ``values`` to the row of the result that ``rows`` names, (count, ...)."""
    return torch.zeros([count, *values.shape[1:]], dtype=values.dtype, device=values.device).index_add(0, rows, values)


def at_atoms(of_edges: Tensor, ends: Ends) -> Tensor:
    """Turn derivatives by edge vectors (E, 3) into those by the positions of their ends, (N, 3)."""
    atoms = ends.n_receivers
    return sum_rows(of_edges, ends.sender, atoms) - sum_rows(of_edges, ends.receiver, atoms)


def _symmetric(square: Tensor) -> Array:
    """Average over rounding errors."""
    return np.asarray((0.5 * (square + square.t())).cpu().numpy())
