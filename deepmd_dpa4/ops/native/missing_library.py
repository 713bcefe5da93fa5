"""What a frozen file says where the native kernels are missing."""

import torch
from torch import nn


class LibraryGuard(nn.Module):
    """First part of a model that uses native kernels.

    A loader resolves the parts of a file in their order and stops at the first operator that it does not know, naming
    it: here the name tells what to do.
    """

    def forward(self) -> None:
        """Do nothing; never called."""
        torch.ops.dpa4.native_kernels_missing__run__dpa4_build__and_put_its_path_into_DP_PLUGIN_PATH()


def add_guard(model: nn.Module) -> None:
    """Put a guard before all parts of a model."""
    model._modules = {"native_kernels": LibraryGuard(), **model._modules}
