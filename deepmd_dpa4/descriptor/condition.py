"""How edge condition and radial features reach the blocks (specification 2.5, 3.3)."""

from typing import NamedTuple

from torch import Tensor


class EdgeCondition(NamedTuple):
    r"""The edge condition :math:`\rho_e[l,c] = rad_e[l,c] + \tau_e[c]` in factors; it is never formed per edge.

    With the last hidden radial features h, the output matrix W and the radial weight :math:`w^r`,
    :math:`rad = w^r\,(hW)`, and :math:`\tau_e = t_j + t_i` is a sum over the ends. A block reads it through a linear
    map, which is folded into W and applied to t on the nodes.
    """

    hidden: Tensor
    """h, (E, width)."""
    output_matrix: Tensor
    """W, (width, (L0 + 1) C)."""
    weight: Tensor | None
    """w^r, (E,): the edge weight; None in models of version below 1.1."""
    type_feature: Tensor
    """t of all nodes, (M, C)."""


def read_condition(condition: EdgeCondition, readout: Tensor, degrees: int, sender: Tensor, receiver: Tensor) -> Tensor:
    """Linear image of the edge condition.

    Parameters
    ----------
    condition : EdgeCondition
        Factors.
    readout : Tensor
        Map ((degrees) * C, K), degree outside of channel.
    degrees : int
        Number of degrees read.
    sender, receiver : Tensor
        Ends of the edges, (E,).

    Returns
    -------
    Tensor
        (E, K).
    """
    channels = condition.type_feature.shape[1]
    radial_map = condition.output_matrix[:, : degrees * channels] @ readout
    radial = condition.hidden @ radial_map
    weight = condition.weight
    if weight is not None:
        radial = radial * weight.unsqueeze(1)
    at_node = condition.type_feature @ readout.view(degrees, channels, -1).sum(dim=0)
    return radial + at_node.index_select(0, sender) + at_node.index_select(0, receiver)


def read_degrees(condition: EdgeCondition, project: Tensor, degrees: int, sender: Tensor, receiver: Tensor) -> Tensor:
    """The edge condition of each degree through one map ``project`` (C, K): (E, degrees, K)."""
    channels = condition.type_feature.shape[1]
    width = condition.hidden.shape[1]
    maps = condition.output_matrix[:, : degrees * channels].reshape(width, degrees, channels) @ project
    radial = (condition.hidden @ maps.flatten(1)).view(-1, degrees, project.shape[1])
    weight = condition.weight
    if weight is not None:
        radial = radial * weight[:, None, None]
    at_node = condition.type_feature @ project
    return radial + (at_node.index_select(0, sender) + at_node.index_select(0, receiver)).unsqueeze(1)
