"""Radial network shared by all blocks."""

from torch import Tensor, nn

from deepmd_dpa4.nn.activation import Activation
from deepmd_dpa4.nn.initial import Initializer
from deepmd_dpa4.nn.linear import MatrixLinear
from deepmd_dpa4.nn.norm import ScalarRMSNorm


class RadialMLP(nn.Module):
    r"""Hidden layers :math:`h \leftarrow \mathrm{act}(\mathrm{norm}(hW))` of the radial network (theory 2.5).

    The last matrix, :meth:`output_matrix`, is not applied here: everything that reads the radial
    features is linear in them, so the readers fold it into their own weights and the product over all edges, degrees
    and channels never exists. No biases: a masked edge gives exactly zero.
    """

    def __init__(
        self, width_in: int, hidden: list[int], width_out: int, norm: bool, activation: str, init: Initializer
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = width_in
        for width_next in hidden:
            layers.append(MatrixLinear(width, width_next, False, init))
            if norm:
                layers.append(ScalarRMSNorm([width_next], init))
            layers.append(Activation(activation))
            width = width_next
        layers.append(MatrixLinear(width, width_out, False, init))
        self.net = nn.ModuleList(layers)
        self.n_hidden_layers = len(layers) - 1

    def forward(self, basis: Tensor) -> Tensor:
        """Map the radial basis (E, n_radial) to the last hidden features (E, hidden)."""
        h = basis
        for index, layer in enumerate(self.net):
            if index < self.n_hidden_layers:
                h = layer(h)
        return h

    def output_matrix(self) -> Tensor:
        """Return the last matrix, (hidden, width_out)."""
        return self.net[-1].matrix  # type: ignore[return-value]
