"""Tables over atom types, and the charge/spin condition of a frame (theory 2.7)."""

import torch
from torch import Tensor, nn

from deepmd_dpa4.nn.activation import Activation
from deepmd_dpa4.nn.initial import Initializer
from deepmd_dpa4.nn.linear import MatrixLinear


class TypeEmbedding(nn.Module):
    """Row ``type`` of a trained table (ntypes + 1, width); the last row is zero and serves padding atoms."""

    def __init__(self, ntypes: int, width: int, init: Initializer) -> None:
        super().__init__()
        self.adam_type_embedding = init.type_table(ntypes, width)

    def forward(self, node_type: Tensor) -> Tensor:
        return self.adam_type_embedding.index_select(0, node_type)


class Table(nn.Module):
    """Row ``index`` of a trained table (rows, width)."""

    def __init__(self, rows: int, width: int, init: Initializer) -> None:
        super().__init__()
        self.adam_type_embedding = init.matrix(rows, width)

    def forward(self, index: Tensor) -> Tensor:
        return self.adam_type_embedding.index_select(0, index)


class ChargeSpinEmbedding(nn.Module):
    r"""One vector per frame: :math:`\mathrm{act}([Q_{charge+100}, S_{spin}]\,W + b)`.

    Charge (-100..99) and spin multiplicity (0..99) are rounded to integers.
    """

    def __init__(self, channels: int, activation: str, init: Initializer) -> None:
        super().__init__()
        self.charge_embedding = Table(200, channels, init)
        self.spin_embedding = Table(100, channels, init)
        self.mix_layer = MatrixLinear(2 * channels, channels, True, init)
        self.activation = Activation(activation)

    def forward(self, charge_spin: Tensor) -> Tensor:
        """Embed ``charge_spin`` (frames, 2) as (frames, C)."""
        index = charge_spin.round().to(torch.int64)
        charge, spin = index[:, 0] + 100, index[:, 1]
        pair = torch.cat([self.charge_embedding(charge), self.spin_embedding(spin)], dim=1)
        return self.activation(self.mix_layer(pair))
