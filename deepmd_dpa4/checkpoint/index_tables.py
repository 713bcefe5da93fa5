"""Index tables that the built-in DPA4 stores in its checkpoints and this one does not need."""

import re
from collections.abc import Callable

import torch
from torch import Tensor

from deepmd_dpa4.config import DescriptorConfig
from deepmd_dpa4.so3.layout import edge_rows, packed_degrees

NUCLEI = "inter_potential.atomic_numbers"
"""Key of the nuclear charges of models with zone bridging, which follow from ``type_map``."""
_TABLE = re.compile(
    r"(^|\.)((gie_zonal_)?wigner_calc\.|gie\.|so2_linears\.\d+\.(m0_idx|pos_indices|neg_indices)"
    r"|radial_degree_mixer\.kernel_(compact|dense)_index|non_linearities\.\d+\.expand_index"
    r"|expand_index|balance_weight)"
)


def is_table(key: str) -> bool:
    """Tell whether a key names an index table, which follows from the options and need not be loaded."""
    return _TABLE.search(key) is not None


def index_tables(config: DescriptorConfig, dtype: torch.dtype) -> dict[str, Tensor]:
    """Make the index tables that the built-in DPA4 stores and this one does not need, by key in the descriptor.

    They are written so that the built-in DPA4 can load our checkpoints strictly. Its edge layout is
    m-major with all of -m before all of +m.
    """
    message = config.message
    degrees, orders = message.degrees, message.orders
    tables: dict[str, Tensor] = {
        "wigner_calc.l1_perm": torch.tensor([1, 2, 0]),
        "wigner_calc.l1_sign_outer": torch.tensor([[1, 1, -1], [1, 1, -1], [-1, -1, 1]], dtype=dtype),
    }
    if config.embedding.use_env_seed and degrees[0] > 0:
        rows = packed_degrees(degrees[0])[1:]
        tables["gie.non_scalar_row_index"] = torch.arange(1, len(rows) + 1)
        tables["gie.zonal_m0_col_index_for_row"] = torch.tensor([l * l + l for l in rows])
        tables["gie.radial_slot_index_for_row"] = torch.tensor([l - 1 for l in rows])
    for block, (lmax, mmax) in enumerate(zip(degrees, orders, strict=True)):
        prefix = f"blocks.{block}.so2_conv."
        layout = m_major(lmax, mmax)
        for layer in range(message.mixing_layers):
            key = f"{prefix}so2_linears.{layer}."
            tables[key + "m0_idx"] = torch.arange(lmax + 1)
            tables[key + "pos_indices"] = _where(layout, lambda m: m > 0)
            tables[key + "neg_indices"] = _where(layout, lambda m: m < 0)
            if layer < message.mixing_layers - 1 and not config.grid.s2_activation[0]:
                gates = [l - 1 for l, _ in layout if l > 0]
                tables[f"{prefix}non_linearities.{layer}.expand_index"] = torch.tensor(gates, dtype=torch.int64)
        if message.radial_so2_mode != "none":
            compact, dense = _kernel_indices(layout, lmax, mmax)
            tables[prefix + "radial_degree_mixer.kernel_compact_index"] = torch.tensor(compact)
            tables[prefix + "radial_degree_mixer.kernel_dense_index"] = torch.tensor(dense)
    return tables


def m_major(lmax: int, mmax: int) -> list[tuple[int, int]]:
    """List the kept (l, m) with, for each m > 0, all degrees of -m before all of +m (theory 1.3)."""
    rows = [(l, 0) for l in range(lmax + 1)]
    for m in range(1, mmax + 1):
        rows += [(l, sign * m) for sign in (-1, 1) for l in range(m, lmax + 1)]
    assert sorted(rows) == sorted(edge_rows(lmax, mmax))
    return rows


def _where(layout: list[tuple[int, int]], wanted: Callable[[int], bool]) -> Tensor:
    return torch.tensor([index for index, (_, m) in enumerate(layout) if wanted(m)], dtype=torch.int64)


def _kernel_indices(layout: list[tuple[int, int]], lmax: int, mmax: int) -> tuple[list[int], list[int]]:
    """Position of each entry of the degree kernels in the compact and in the dense (rows x rows) layout."""
    compact, dense = [], []
    start = 0
    for m in range(mmax + 1):
        size = lmax - m + 1
        for sign in (-1, 1) if m else (1,):
            rows = [layout.index((l, sign * m)) for l in range(m, lmax + 1)]
            for i, row_in in enumerate(rows):
                for j, row_out in enumerate(rows):
                    compact.append(start + i * size + j)
                    dense.append(row_out * len(layout) + row_in)
        start += size * size
    return compact, dense
