"""First node state: types, local environment, geometry (theory 3)."""

import math

import torch
from torch import Tensor, nn

from deepmd_dpa4.config import DescriptorConfig
from deepmd_dpa4.graph.graph import Ends, Graph
from deepmd_dpa4.nn.activation import Activation
from deepmd_dpa4.nn.initial import Initializer
from deepmd_dpa4.nn.linear import MatrixLinear
from deepmd_dpa4.nn.type_embedding import TypeEmbedding
from deepmd_dpa4.ops.matrix_product import Product
from deepmd_dpa4.ops.outer_sum import OuterSum
from deepmd_dpa4.so3.layout import packed_degrees

FILM_STRENGTH = math.log(0.01)


class EnvironmentSeed(nn.Module):
    r"""Invariants of the local environment matrix (theory 3.1).

    With :math:`m_e = (s, s\,v/r)`, :math:`s = w/r`, and an embedding :math:`g_e` of distance and types:
    :math:`A_i = n_i \sum_e m_e \otimes g_e`, and the result is :math:`(A_i^T A_i[:, :a])\,W`, (N, 2C).
    """

    def __init__(self, config: DescriptorConfig, ntypes: int, init: Initializer) -> None:
        super().__init__()
        channels, bias = config.embedding.channels, config.common.mlp_bias
        self.embed_width = min(channels, 128)
        self.axis = 4 if self.embed_width < 64 else 8
        self.type_width = min(max(channels // 4, 8), 32)
        radial_width = max(32, self.embed_width - 2 * self.type_width)
        hidden = min(256, max(2 * self.embed_width, radial_width + 2 * self.type_width))
        self.rbf_proj_layer1 = MatrixLinear(config.geometry.n_radial, radial_width, bias, init)
        self.rbf_proj_layer2 = MatrixLinear(radial_width, radial_width, bias, init)
        self.env_type_embed = TypeEmbedding(ntypes, self.type_width, init)
        self.g_layer1 = MatrixLinear(radial_width + 2 * self.type_width, hidden, bias, init)
        self.g_layer2 = MatrixLinear(hidden, self.embed_width, bias, init)
        self.output_proj = MatrixLinear(self.embed_width * self.axis, 2 * channels, False, init)
        nn.init.zeros_(self.output_proj.matrix)
        self.activation = Activation(config.common.activation_function)
        self.product, self.outer_sum = Product(), OuterSum()

    def sum_edges(self, basis: Tensor, matrix: Tensor, graph: Graph) -> Tensor:
        r"""Sum :math:`m_e \otimes g_e` over the edges of owned nodes, (N, 4, e); ``matrix`` (E, 4) holds m."""
        ends = graph.ends
        return self.outer_sum(matrix, self.embed(basis, graph), ends.receiver, ends.n_receivers)

    def forward(self, environment: Tensor) -> Tensor:
        """Scale and shift (N, 2C) from the normalised sums A, (N, 4, e)."""
        invariants = torch.bmm(environment.transpose(1, 2), environment[:, :, : self.axis])
        return self.output_proj(invariants.flatten(1))

    def embed(self, basis: Tensor, graph: Graph) -> Tensor:
        """Compute g_e, (E, e); radial layers are folded, and the type part of the joint one acts on nodes."""
        joint = self.g_layer1.matrix
        width = self.rbf_proj_layer2.matrix.shape[1]
        folded = self.rbf_proj_layer2.matrix @ joint[:width]
        radial = self.product(self.activation(self.rbf_proj_layer1(basis)), folded)
        types = self.env_type_embed(graph.node_type)
        of_sender = types @ joint[width : width + self.type_width]
        of_receiver = types @ joint[width + self.type_width :]
        hidden = (
            radial + of_sender.index_select(0, graph.ends.sender) + of_receiver.index_select(0, graph.ends.receiver)
        )
        if self.rbf_proj_layer2.bias is not None:
            hidden = hidden + self.rbf_proj_layer2.bias @ joint[:width]
        if self.g_layer1.bias is not None:
            hidden = hidden + self.g_layer1.bias
        return self.g_layer2(self.activation(hidden))


class GeometricEmbedding(nn.Module):
    r"""Rows l >= 1 of the first state, :math:`n_i \sum_e S_{lm}(u_e)\,rad_e[l,c]` (theory 3.2).

    The radial output matrix is applied after the sum over edges, once per degree.
    """

    degree: Tensor

    def __init__(self, lmax: int) -> None:
        super().__init__()
        self.degrees = lmax + 1
        self.product, self.outer_sum = Product(), OuterSum()
        self.register_buffer("degree", torch.tensor(packed_degrees(lmax)[1:]), persistent=False)

    def sum_edges(self, zonal: Tensor, hidden: Tensor, ends: Ends) -> Tensor:
        """Sum over the edges of the owned nodes, before the radial matrix: (N, D - 1, width)."""
        return self.outer_sum(zonal, hidden, ends.receiver, ends.n_receivers)

    def forward(self, moments: Tensor, output_matrix: Tensor) -> Tensor:
        """Fill rows l >= 1 of the owned nodes, (D - 1, N, C), from the normalised sums (N, D - 1, width)."""
        maps = output_matrix.view(output_matrix.shape[0], self.degrees, -1).transpose(0, 1)
        return self.product(moments.transpose(0, 1), maps.index_select(0, self.degree))
