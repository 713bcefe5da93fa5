"""How edge condition and radial features reach the blocks (theory 2.5, 3.3)."""

from typing import NamedTuple

from torch import Tensor, nn

from deepmd_dpa4.graph.graph import Ends
from deepmd_dpa4.ops.matrix_product import Product
from deepmd_dpa4.ops.pairs import Pairs


class EdgeCondition(NamedTuple):
    r"""The edge condition :math:`\rho_e[l,c] = rad_e[l,c] + \tau_e[c]` in factors; it is never formed per edge.

    With the last hidden radial features h, the radial weight :math:`w^r` and the output matrix W,
    :math:`rad = (w^r h) W`, and :math:`\tau_e = t_j + t_i` is a sum over the ends. A block reads it through a linear
    map, which is folded into W and applied to t on the nodes.
    """

    hidden: Tensor
    """h times the edge weight, (E, width); h alone in models of version below 1.1."""
    output_matrix: Tensor
    """W, (width, (L0 + 1) C)."""
    type_feature: Tensor
    """t of all nodes, (M, C)."""


class EdgeContext(NamedTuple):
    """What the sum over the edges of a block reads besides node features."""

    ends: Ends
    """Nodes of the edges."""
    weight: Tensor
    """Edge weight w, (E,)."""
    rotation: Tensor
    """Rows of D, edge order, (E, rows, D); without their zeros, (E, nnz), for a block whose messages one operation
    forms."""
    condition: EdgeCondition
    """Edge condition."""
    gate: Tensor | None
    """Gate of the sender of each edge, (E,); None without zone bridging."""


class ConditionReader(nn.Module):
    """Linear images of the edge condition: the radial part on edges, the type part on nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs = Pairs()
        self.product = Product()

    def read(self, context: EdgeContext, readout: Tensor, degrees: int) -> Tensor:
        """Read a linear image of the edge condition.

        Parameters
        ----------
        context : EdgeContext
            Factors of the condition, ends of the edges.
        readout : Tensor
            Map ((degrees) * C, K), degree outside of channel.
        degrees : int
            Number of degrees read.

        Returns
        -------
        Tensor
            (E, K).
        """
        ends, condition = context.ends, context.condition
        channels = condition.type_feature.shape[1]
        radial_map = condition.output_matrix[:, : degrees * channels] @ readout
        radial = self.product(condition.hidden, radial_map)
        at_node = condition.type_feature @ readout.view(degrees, channels, readout.shape[1]).sum(dim=0)
        return radial + self.pairs.sum_of_ends(at_node, ends.receiver, ends.sender)

    def read_degrees(self, context: EdgeContext, project: Tensor, degrees: int) -> Tensor:
        """Read the edge condition of each degree through one map ``project`` (C, K): (E, degrees, K)."""
        ends, condition = context.ends, context.condition
        channels = condition.type_feature.shape[1]
        width = condition.hidden.shape[1]
        maps = condition.output_matrix[:, : degrees * channels].reshape(width, degrees, channels) @ project
        radial = self.product(condition.hidden, maps.flatten(1)).view(-1, degrees, project.shape[1])
        at_ends = self.pairs.sum_of_ends(condition.type_feature @ project, ends.receiver, ends.sender)
        return radial + at_ends.unsqueeze(1)
