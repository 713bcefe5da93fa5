"""The graph a model is evaluated on, and the geometry of its edges."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from deepmd_dpa4.graph.cutoff import CutoffEnvelope, InnerClamp
from deepmd_dpa4.so3.frame import edge_frame, roll_frame
from deepmd_dpa4.so3.wigner import WignerRows


class Graph(NamedTuple):
    """Nodes and directed edges of all frames of a batch.

    Nodes are the owned atoms, frame after frame, followed by the ghosts of other ranks if there are any. An edge
    runs from its sender j to its receiver i; edges are sorted by receiver, except in traced graphs of plain kernels,
    which take them in any order. An edge whose length reaches the cutoff contributes nothing, which is how a
    fixed-size caller masks edges.
    """

    node_type: Tensor
    """Type index of each node, (M,) int64; padding atoms carry the number of types."""
    n_owned: int
    """Number N <= M of owned nodes; receivers are owned."""
    frame: Tensor
    """Frame of each node, (M,) int64."""
    sender: Tensor
    """Node j of each edge, (E,) int64."""
    receiver: Tensor
    """Node i of each edge, (E,) int64."""
    vector: Tensor
    """r_j + shift - r_i of each edge, (E, 3) float64, Angstrom: the leaf that forces are derived from."""
    exchange: dict[str, Tensor] | None
    """Tables that copy owned node features to the ghosts of other ranks; None if every node is owned."""


class EdgeGeometry(NamedTuple):
    """What the network knows of each edge, built once per call."""

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
    rotation: Tensor
    """The same with the zeros, (E, rows, D), edge order; empty where only native operators need it."""
    clamp_gate: Tensor | None
    """Edge factor of the source gate, (E,); None without zone bridging."""


class EdgeFeatures(nn.Module):
    """Edge vectors to :class:`EdgeGeometry` (theory 1.5, 2.1, 2.2, 3.1, 7.1).

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

    Attributes
    ----------
    dense : bool
        Whether a convolution needs the rotation with its zeros also when the network runs natively.
    """

    native: torch.jit.Final[bool] = False

    def __init__(self, rcut: float, exponent: int, eps: float, wigner: WignerRows, clamp: InnerClamp | None) -> None:
        super().__init__()
        self.eps2 = eps * eps
        self.exponent, self.rcut = exponent, rcut
        self.edge_envelope = CutoffEnvelope(rcut, exponent)
        self.wigner = wigner
        self.clamp = clamp
        self.dense = True

    def forward(self, vector: Tensor, weighted: bool, roll: Tensor | None) -> EdgeGeometry:
        """Geometry of edge vectors.

        Parameters
        ----------
        vector : Tensor
            (E, 3).
        weighted : bool
            Whether the radial features carry the edge weight.
        roll : Tensor, optional
            Angle by which each frame is turned about its edge, (E, 1).
        """
        if self.native and not vector.is_cuda and self.clamp is None:
            return self.native_geometry(vector, weighted)
        distance = torch.sqrt((vector * vector).sum(dim=1) + self.eps2)
        clamp_gate: Tensor | None = None
        if self.clamp is not None:
            clamped = self.clamp(distance)
            clamp_gate = self.clamp.gate(clamped)
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
        return EdgeGeometry(distance, weight, environment, zonal, compact, self.dense_rows(compact), clamp_gate)

    def clamp_gate(self, vector: Tensor) -> Tensor | None:
        """Factor of each edge vector (E, 3) in the source gate, (E,); None without zone bridging."""
        if self.clamp is None:
            return None
        distance = torch.sqrt((vector * vector).sum(dim=1) + self.eps2)
        return self.clamp.gate(self.clamp(distance))

    def native_geometry(self, vector: Tensor, weighted: bool) -> EdgeGeometry:
        """The same by one operator; the frames are not turned."""
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
        return EdgeGeometry(distance, weight, environment, zonal, compact, self.dense_rows(compact), None)

    def dense_rows(self, compact: Tensor) -> Tensor:
        """The rows of D with their zeros, or nothing if all convolutions run natively."""
        if self.native and not compact.is_cuda and not self.dense:
            return compact.new_zeros([0])
        return self.wigner.dense(compact)
