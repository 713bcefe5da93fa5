"""Node features of ghost atoms from the ranks that own them."""

import torch
from torch import Tensor
from torch.nn import functional


def fill_ghosts(features: Tensor, tables: dict[str, Tensor], n_nodes: int) -> Tensor:
    """Extend owned rows (N, width) by ghost rows: (n_nodes, width).

    ``tables`` are the communication tables of the MD engine. The operator is DeePMD-kit's ``border_op``: it copies
    along the swaps of the engine, and its derivative returns the gradients of ghosts to their owners. Every rank has
    to call it equally often, also a rank without atoms. Tables of a graph that is being traced hold the numbers of
    owned atoms and ghosts, ``nlocal`` and ``nghost``, too.
    """
    n_owned = features.shape[0]
    cpu = torch.device("cpu")
    buffer = functional.pad(features, [0, 0, 0, n_nodes - n_owned])
    if not torch.jit.is_scripting() and "nlocal" in tables:
        return fill_ghosts_in_trace(buffer, tables)
    return torch.ops.deepmd.border_op(
        tables["send_list"],
        tables["send_proc"],
        tables["recv_proc"],
        tables["send_num"],
        tables["recv_num"],
        buffer.contiguous(),
        tables["communicator"],
        torch.tensor(n_owned, dtype=torch.int32, device=cpu),
        torch.tensor(n_nodes - n_owned, dtype=torch.int32, device=cpu),
    )[0]


@torch.jit.unused
def fill_ghosts_in_trace(buffer: Tensor, tables: dict[str, Tensor]) -> Tensor:
    """Do the same by the form of the operator that a compiled file can hold, which reads its numbers at run time."""
    names = ("send_list", "send_proc", "recv_proc", "send_num", "recv_num")
    given = [tables[name] for name in names]
    counts = tables["nlocal"], tables["nghost"]
    return torch.ops.deepmd_export.border_op(*given, buffer, tables["communicator"], *counts)  # type: ignore[no-any-return]
