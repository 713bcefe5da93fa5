"""Products of two fields through an S2 or SO(3) grid, with a scalar path (theory 5.4)."""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from deepmd_dpa4.nn.initial import Initializer
from deepmd_dpa4.nn.linear import WeightLinear, pad_scalars
from deepmd_dpa4.ops.field_product import FieldProduct, grid_multiply_scalar
from deepmd_dpa4.ops.matrix_product import Product
from deepmd_dpa4.so3.layout import frame_orders, frame_rows
from deepmd_dpa4.so3.quadrature import packed_rows, s2_tables, so3_tables


class GridTables(nn.Module):
    """Product of fields on one grid, and the places of its rows: which (l, m) and (l, frame) each belongs to.

    ``kmax`` None stands for an S2 grid, whose rows are the packed (l, m).
    """

    coupling: Tensor
    packed_row: Tensor
    pair_of_row: Tensor
    live_pair: Tensor

    def __init__(self, lmax: int, kmax: int | None, lebedev: bool, dtype: torch.dtype) -> None:
        if kmax is None:
            rows = [(l, m, 0) for l, m in packed_rows(lmax)]
            to_grid, from_grid = s2_tables(lmax, lmax, lebedev, edge_order=False, square=True)
        else:
            rows = frame_rows(lmax, kmax)
            to_grid, from_grid = so3_tables(lmax, kmax)
        super().__init__()
        self.multiply, self.product = FieldProduct(to_grid, from_grid, dtype), Product()
        self.n_frames = 1 if kmax is None else len(frame_orders(kmax))
        pairs = sorted({(degree, slot) for degree, _, slot in rows})
        coupling = np.einsum("g,gr,gr->r", from_grid[0], to_grid, to_grid)
        self.register_buffer("coupling", torch.tensor(coupling, dtype=dtype), persistent=False)
        self._index("packed_row", [degree * degree + degree + m for degree, m, _ in rows])
        self._index("pair_of_row", [pairs.index((degree, slot)) for degree, _, slot in rows])
        self._index("live_pair", [degree * self.n_frames + slot for degree, slot in pairs])
        self.size = (lmax + 1) ** 2

    def _index(self, name: str, values: list[int]) -> None:
        self.register_buffer(name, torch.tensor(values), persistent=False)

    def row_weight(self, weight: Tensor) -> Tensor:
        """Select the matrix of each row, (live pairs, in, out) to (rows, in, out)."""
        return weight.index_select(0, self.pair_of_row)

    def expand(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Multiply packed features (D, N, in) by a matrix per (l, frame), (live pairs, in, out): (rows, N, out).

        The bias (1, out) acts on (0, 0).
        """
        rows, matrices = x.index_select(0, self.packed_row), self.row_weight(weight)
        if bias is None:
            return self.product(rows, matrices)
        return torch.baddbmm(pad_scalars(bias, rows.shape[0]), rows, matrices)

    def contract(self, y: Tensor, weight: Tensor, scalars: Tensor) -> Tensor:
        """Multiply rows (rows, N, in) by a matrix per (l, frame) and sum over the frames, (D, N, out).

        The scalars (N, out) are added to (0, 0).
        """
        z = self.product(y, self.row_weight(weight))
        return pad_scalars(scalars.to(z.dtype), self.size).index_add(0, self.packed_row, z)


class GridOperation(nn.Module):
    """Weights around the product on the grid: ``mlp`` or ``branch`` (theory 5.4, table "Grid operation")."""

    def __init__(self, kind: str, self_mode: bool, width: int, branches: int, init: Initializer) -> None:
        super().__init__()
        self.kind = kind
        self.branches = branches
        if kind == "branch":
            width_in, width_grid, width_out = width, branches * width, width
        else:
            width_in, width_grid, width_out = (2 * width if self_mode else width), 2 * width, 2 * width
        bound = 1 / math.sqrt(width_in)
        self.left_proj = WeightLinear(init.uniform([width_in, width_grid], bound))
        self.right_proj = WeightLinear(init.uniform([width_in, width_grid], bound))
        routing = init.uniform([2 * width, branches], 1 / math.sqrt(2 * width))
        self.router = WeightLinear(routing) if kind == "branch" else None
        self.out_proj = WeightLinear(init.uniform([width_out, width], 1 / math.sqrt(width_out)))

    def branch_weight(self, scalars: Tensor) -> Tensor | None:
        """Compute routing weights (N, branches); with a single branch they are 1 and not computed."""
        if self.router is None:
            return None
        return torch.softmax(self.router(scalars), dim=1) if self.branches > 1 else None


class GridNet(nn.Module):
    """What self and cross products share: the scalar path around a grid operation."""

    def __init__(self, width: int, streams: int) -> None:
        super().__init__()
        self.width, self.streams = width, streams
        self.product = Product()

    def add_operation(self, kind: str, self_mode: bool, branches: int, bias: bool, init: Initializer) -> None:
        """Create the weights; subclasses with weights of their own create those first, as checkpoints order them."""
        columns = self.streams * self.width
        gate_bias = init.constant([columns], 0.0) if bias else None
        self.scalar_gate = WeightLinear(init.normal([2 * self.width, columns], 0.01), gate_bias)
        self.grid_op = GridOperation(kind, self_mode, self.width, branches, init) if kind != "glu" else None

    def project_left(self, both: Tensor) -> Tensor:
        """Fold the left projection of the operation into the linear maps (pairs, in, .) that make the operands.

        The maps of both operands stand side by side, or there is one map for both.
        """
        if self.grid_op is None:
            return both[:, :, : self.width]
        weight = self.grid_op.left_proj.weight
        return self.product(both[:, :, : weight.shape[0]], weight)

    def project_right(self, both: Tensor) -> Tensor:
        """Do the same for the right projection."""
        if self.grid_op is None:
            return both[:, :, -self.width :]
        weight = self.grid_op.right_proj.weight
        return self.product(both[:, :, -weight.shape[0] :], weight)

    def branch_weight(self, scalars: Tensor) -> Tensor | None:
        """Compute the routing weights of the operation, if it has several branches."""
        if self.grid_op is None:
            return None
        return self.grid_op.branch_weight(scalars)

    def project_out(self, y: Tensor) -> Tensor:
        """Apply the output projection of the operation."""
        if self.grid_op is None:
            return y
        return self.product(y, self.grid_op.out_proj.weight)

    def gate(self, scalars: Tensor) -> Tensor:
        """Compute the invariant gate of the result, scalars (N * F, 2W) with the streams inside: (N * F, W)."""
        if self.streams == 1:
            return torch.sigmoid(self.scalar_gate(scalars))
        weight = self.scalar_gate.weight.view(2 * self.width, self.streams, self.width)
        logits = torch.einsum("nfi,ifo->nfo", scalars.view(-1, self.streams, 2 * self.width), weight)
        if self.scalar_gate.bias is not None:
            logits = logits + self.scalar_gate.bias.view(self.streams, self.width)
        return torch.sigmoid(logits).reshape(-1, self.width)

    def scalar_path(self, scalars: Tensor) -> Tensor:
        """Multiply the scalar operands directly, for row (0, 0)."""
        return functional.silu(scalars[:, : self.width]) * scalars[:, self.width :]


class SelfGridNet(GridNet):
    r"""Product of two linear images of the same node features, (D, N, C) -> (D, N, C_out).

    ``weight_in`` (L + 1, C, 2 K W) makes the operands, ``weight_out`` (L + 1, K W, C_out) reads the result; both are
    the SO(3) linear maps around the net, handed in so that the projections of the operation fold into them.
    """

    def __init__(self, kind: str, width: int, branches: int, tables: GridTables, bias: bool, init: Initializer) -> None:
        super().__init__(width, 1)
        self.tables = tables
        self.add_operation(kind, True, branches, bias, init)

    def operands(self, x: Tensor, weight_in: Tensor, bias_in: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return left and right operand (rows, N, .), projected, and the scalar pair (N, 2W), not projected."""
        degrees, channels, frames = weight_in.shape[0], weight_in.shape[1], self.tables.n_frames
        both = weight_in.view(degrees, channels, 2, frames, self.width).permute(0, 3, 1, 2, 4)
        both = both.reshape(degrees * frames, channels, 2 * self.width).index_select(0, self.tables.live_pair)
        scalars = self.product(x[0], both[0])
        bias_left: Tensor | None = None
        bias_right: Tensor | None = None
        if bias_in is not None:
            bias = bias_in.view(2, frames, self.width)[:, 0].reshape(1, 1, 2 * self.width)
            scalars = scalars + bias.flatten()
            bias_left, bias_right = self.project_left(bias)[0], self.project_right(bias)[0]
        left = self.tables.expand(x, self.project_left(both), bias_left)
        right = self.tables.expand(x, self.project_right(both), bias_right)
        return left, right, scalars

    def forward(
        self, x: Tensor, weight_in: Tensor, bias_in: Tensor | None, weight_out: Tensor, bias_out: Tensor | None
    ) -> Tensor:
        left, right, scalars = self.operands(x, weight_in, bias_in)
        product = self.tables.multiply(left, right, self.branch_weight(scalars))
        degrees, channels = weight_out.shape[0], weight_out.shape[2]
        split = weight_out.view(degrees * self.tables.n_frames, self.width, channels).index_select(
            0, self.tables.live_pair
        )
        direct = self.read_scalars(self.scalar_path(scalars), weight_out, bias_out)
        return self.tables.contract(self.project_out(product) * self.gate(scalars), split, direct)

    def scalar_row(
        self, x: Tensor, weight_in: Tensor, bias_in: Tensor | None, weight_out: Tensor, bias_out: Tensor | None
    ) -> Tensor:
        """Compute row (0, 0) alone, (N, C_out): no grid is needed, that row of the coupling is diagonal."""
        left, right, scalars = self.operands(x, weight_in, bias_in)
        product = grid_multiply_scalar(left, right, self.tables.coupling, self.branch_weight(scalars))
        y = self.project_out(product) * self.gate(scalars) + self.scalar_path(scalars)
        return self.read_scalars(y, weight_out, bias_out)

    def read_scalars(self, y: Tensor, weight_out: Tensor, bias_out: Tensor | None) -> Tensor:
        """Apply the output map of (0, 0), the only frame of which comes first, (N, W) -> (N, C_out)."""
        z = y @ weight_out[0, : self.width]
        return z if bias_out is None else z + bias_out


class FrameLinear(nn.Module):
    """Weight holder of a map between channels and Wigner frames of each degree; ``weight`` (L + 1, in, out)."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight


class MessageNodeProduct(GridNet):
    """Product of the summed message with the node features on an SO(3) grid (theory 4.9).

    Query and context (D, N, F * W) with F streams; the result (D, N, F * W) is to be added to the query.
    """

    def __init__(
        self, lmax: int, kmax: int, kind: str, width: int, streams: int, branches: int, bias: bool, init: Initializer
    ) -> None:
        super().__init__(width, streams)
        frames = len(frame_orders(kmax))
        self.tables = GridTables(lmax, kmax, True, init.dtype)
        self.residual_scale = init.constant([streams, width], 1e-3)
        expand = init.uniform([lmax + 1, width, frames * width], 1 / math.sqrt(width))
        contract = init.uniform([lmax + 1, frames * width, width], 1 / math.sqrt(frames * width))
        self.frame_expand = FrameLinear(expand)
        self.frame_contract = FrameLinear(contract)
        self.add_operation(kind, False, branches, bias, init)

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        size, nodes = query.shape[0], query.shape[1]
        query = query.reshape(size, nodes * self.streams, self.width)
        context = context.reshape(size, nodes * self.streams, self.width)
        frames, degrees = self.tables.n_frames, self.frame_expand.weight.shape[0]
        expand = self.frame_expand.weight.view(degrees, self.width, frames, self.width).transpose(1, 2)
        expand = expand.reshape(-1, self.width, self.width).index_select(0, self.tables.live_pair)
        contract = self.frame_contract.weight.view(-1, self.width, self.width)
        contract = contract.index_select(0, self.tables.live_pair)
        scalars = torch.cat([query[0], context[0]], dim=1)
        left = self.tables.expand(query, self.project_left(expand), None)
        right = self.tables.expand(context, self.project_right(expand), None)
        product = self.tables.multiply(left, right, self.branch_weight(scalars))
        direct = self.scalar_path(scalars) @ contract[0]
        y = self.project_out(product) * self.gate(scalars)
        result = self.tables.contract(y, contract, direct).view(size, nodes, self.streams, self.width)
        return (result * self.residual_scale).view(size, nodes, self.streams * self.width)
