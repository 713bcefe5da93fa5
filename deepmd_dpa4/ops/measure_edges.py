"""Geometry of the edges: distance, envelope, harmonics and rotation (theory 1.5, 2.1, 2.2, 3.1, 7.1)."""

from typing import NamedTuple

import torch
from torch import Tensor

from deepmd_dpa4.graph.cutoff import CutoffEnvelope, InnerClamp
from deepmd_dpa4.graph.graph import Ends
from deepmd_dpa4.ops.operation import OnCpu, Operation
from deepmd_dpa4.so3.frame import edge_frame, roll_frame
from deepmd_dpa4.so3.wigner import WignerRows


class EdgeGeometry(NamedTuple):
    """Functions of the edge vectors that radial features, first state and blocks start from."""

    distance: Tensor
    """Length of the edge vector after the inner clamp, (E,)."""
    weight: Tensor
    """Edge weight w, the envelope of the second exponent, (E,)."""
    environment: Tensor
    """First factor (s, s u) of the environment matrix, s = w / r, (E, 4)."""
    zonal: Tensor
    """S_lm of the direction with l > 0, times w if the radial features are weighted, (E, D - 1)."""
    compact: Tensor
    """Kept rows of D(R) without the zeros outside its blocks, (E, nnz)."""


class MeasureEdges(Operation):
    """Edge vectors (E, 3) in Angstrom to :class:`EdgeGeometry`.

    Parameters
    ----------
    rcut : float
        Cutoff in Angstrom.
    exponent : int
        Exponent of the edge weight.
    eps : float
        Length that keeps square roots differentiable, Angstrom.
    wigner : WignerRows
        Rotation matrices up to the highest degree and order of the network.
    clamp : InnerClamp, optional
        Zone bridging.
    """

    def __init__(self, rcut: float, exponent: int, eps: float, wigner: WignerRows, clamp: InnerClamp | None) -> None:
        super().__init__()
        self.eps2 = eps * eps
        self.exponent, self.rcut = exponent, rcut
        self.edge_envelope = CutoffEnvelope(rcut, exponent)
        self.wigner = wigner
        self.clamp = clamp

    def forward(
        self, vector: Tensor, weighted: bool, roll: Tensor | None, contact: Tensor | None = None
    ) -> EdgeGeometry:
        """Measure edge vectors.

        Parameters
        ----------
        vector : Tensor
            (E, 3).
        weighted : bool
            Whether the radial features carry the edge weight.
        roll : Tensor, optional
            Angle by which each frame is turned about its edge, (E, 1).
        contact : Tensor, optional
            Unit of the radii of the clamp for each edge, (E,).
        """
        return self.measure(vector, weighted, roll, contact)

    def measure(
        self, vector: Tensor, weighted: bool, roll: Tensor | None, contact: Tensor | None = None
    ) -> EdgeGeometry:
        """Define the operation in plain torch."""
        distance = torch.sqrt((vector * vector).sum(dim=1) + self.eps2)
        if self.clamp is not None:
            clamped = self.clamp(distance, contact)
            vector = vector * (clamped / distance).unsqueeze(1)
            distance = clamped
        direction = vector / torch.sqrt((vector * vector).sum(dim=1, keepdim=True) + self.eps2)
        first, second = edge_frame(direction)
        if roll is not None:
            first, second = roll_frame(first, second, roll)
        zonal, compact = self.wigner(first, second, direction)
        weight = self.edge_envelope(distance)
        strength = (weight / distance).unsqueeze(1)
        environment = torch.cat([strength, strength * direction], dim=1)
        zonal = zonal[:, 1:]
        if weighted:
            zonal = zonal * weight.unsqueeze(1)
        return EdgeGeometry(distance, weight, environment, zonal, compact)

    def clamp_gate(self, vector: Tensor, contact: Tensor | None = None) -> Tensor:
        """Compute the factor of each edge vector (E, 3) in the source gate of zone bridging, (E,)."""
        assert self.clamp is not None
        distance = torch.sqrt((vector * vector).sum(dim=1) + self.eps2)
        return self.clamp.gate(self.clamp(distance, contact), contact)

    def contact(self, node_type: Tensor, ends: Ends) -> Tensor | None:
        """Compute the unit of the radii of the clamp for each edge, (E,); None for Angstrom, or without a clamp."""
        return None if self.clamp is None else self.clamp.contact(node_type, ends)

    def dense(self, compact: Tensor) -> Tensor:
        """Put the entries (E, nnz) of the rows of D between their zeros, edge order: (E, rows, D)."""
        return self.wigner.dense(compact)


class CpuMeasureEdges(OnCpu, MeasureEdges):
    """By ``dpa4::edge_geometry``; frames that are turned and distances that are clamped are left to torch."""

    def forward(
        self, vector: Tensor, weighted: bool, roll: Tensor | None, contact: Tensor | None = None
    ) -> EdgeGeometry:
        if self.clamp is not None or roll is not None or vector.is_cuda:
            return self.measure(vector, weighted, roll, contact)
        distance, weight, environment, zonal, compact = torch.ops.dpa4.edge_geometry(
            vector,
            self.wigner.coupling,
            self.wigner.factors,
            lmax=self.wigner.lmax,
            mmax=self.wigner.mmax,
            exponent=self.exponent,
            weighted=weighted,
            eps2=self.eps2,
            rcut=self.rcut,
        )
        return EdgeGeometry(distance, weight, environment, zonal, compact)
