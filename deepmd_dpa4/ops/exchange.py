"""Node features of ghost atoms from the ranks that own them."""

import torch
from torch import Tensor
from torch.nn import functional


def fill_ghosts(features: Tensor, tables: dict[str, Tensor], n_nodes: int) -> Tensor:
    """Owned rows (N, width) to owned and ghost rows (n_nodes, width).

    ``tables`` are the communication tables of the MD engine. The operator is DeePMD-kit's ``border_op``: it copies
    along the swaps of the engine, and its derivative returns the gradients of ghosts to their owners. Every rank has
    to call it equally often, also a rank without atoms.
    """
    n_owned = features.shape[0]
    cpu = torch.device("cpu")
    buffer = functional.pad(features, [0, 0, 0, n_nodes - n_owned])
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
