r"""Edge-dependent mixing of degrees in the edge frame (theory 4.3).

A kernel :math:`k_e` mixes the degrees that share an order m, the same for +m and -m, which keeps SO(2)
equivariance; channels are mixed only through a basis :math:`\beta` of low rank:

.. math:: \hat y_{(l',\pm m),c} = \sum_\rho \beta_{\rho c} \sum_{l \ge m} k_e^{(m)}[l,l',\rho]\, \hat x_{(l,\pm m),c}.
"""

import torch
from torch import Tensor, nn

from deepmd_dpa4.nn.initial import Initializer
from deepmd_dpa4.so3.layout import group_size


class DegreeMixer(nn.Module):
    """Kernels of all orders; ``weight`` ((L + 1) Cw, n_k * copies) reads them from the edge condition.

    Parameters
    ----------
    lmax, mmax : int
        Degrees and orders of the edge features.
    width : int
        Hidden width Cw.
    rank : int
        Rank R of the channel basis; 0 gives every channel its own kernel.
    basis : bool
        Whether there is a channel basis; without it one kernel serves all channels.
    """

    def __init__(self, lmax: int, mmax: int, width: int, rank: int, basis: bool, init: Initializer) -> None:
        super().__init__()
        self.lmax, self.mmax, self.width = lmax, mmax, width
        self.size = (lmax + 1) ** 2
        self.kernel_size = sum((lmax - m + 1) ** 2 for m in range(mmax + 1))
        self.per_channel = basis and rank == 0
        self.copies = width if self.per_channel else max(rank, 1)
        rows, columns = (lmax + 1) * width, self.kernel_size * self.copies
        self.weight = init.truncated([rows, columns], rows, columns)
        self.channel_basis: nn.Parameter | None = (
            init.truncated([rank, width], rank, width) if basis and rank > 0 else None
        )

    def readout(self) -> Tensor:
        """Build the map that reads the kernels from the edge condition of each degree, (L + 1, Cw, n_k * copies)."""
        return self.weight.view(self.lmax + 1, self.width, -1)

    def sender_features(self, features: Tensor) -> Tensor:
        """Multiply features (M, D, Cw) by each vector of the channel basis: (M, R * D, Cw).

        The basis acts on channels and the rotation on (l, m), so the product moves from edges to nodes.
        """
        if self.channel_basis is None:
            return features
        scaled = features.unsqueeze(1) * self.channel_basis[:, None, :]
        return scaled.flatten(1, 2)

    def compose(self, kernels: Tensor, rotation: Tensor) -> Tensor:
        """Multiply kernels (E, n_k * R) by rows of D (E, rows, D): one matrix per edge, (E, rows, R * D)."""
        edges, copies = kernels.shape[0], self.copies
        kernels = kernels.view(edges, self.kernel_size, copies)
        composed: list[Tensor] = []
        row, start = 0, 0
        for order in range(self.mmax + 1):
            degrees = self.lmax - order + 1
            rows = group_size(self.lmax, order)
            stop = start + degrees * degrees
            kernel = kernels[:, start:stop].reshape(edges, degrees, degrees * copies)
            signs = rows // degrees
            block = rotation[:, row : row + rows].reshape(edges, degrees, signs * self.size)
            mixed = torch.bmm(kernel.transpose(1, 2), block).view(edges, degrees, copies, signs, self.size)
            composed.append(mixed.transpose(2, 3).reshape(edges, rows, copies * self.size))
            row, start = row + rows, stop
        return torch.cat(composed, dim=1)

    def mix_channels(self, kernels: Tensor, local: Tensor) -> Tensor:
        """Apply kernels of every channel (E, n_k * Cw) to edge features (E, rows, Cw)."""
        edges = kernels.shape[0]
        kernels = kernels.view(edges, self.kernel_size, self.width)
        mixed: list[Tensor] = []
        row, start = 0, 0
        for order in range(self.mmax + 1):
            degrees = self.lmax - order + 1
            rows = group_size(self.lmax, order)
            stop = start + degrees * degrees
            kernel = kernels[:, start:stop].reshape(edges, degrees, degrees, self.width)
            block = local[:, row : row + rows].reshape(edges, degrees, rows // degrees, self.width)
            mixed.append(torch.einsum("eioc,eisc->eosc", kernel, block).flatten(1, 2))
            row, start = row + rows, stop
        return torch.cat(mixed, dim=1)
