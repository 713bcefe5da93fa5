"""Scalar activations by name."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepmd_dpa4.ops.silu import Silu


class Activation(nn.Module):
    """Elementwise activation chosen by name; names are those of DeePMD-kit."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name.lower()
        self.silu = Silu()

    def forward(self, x: Tensor) -> Tensor:
        if self.name == "silu":
            return self.silu(x)
        if self.name == "tanh":
            return torch.tanh(x)
        if self.name == "gelu" or self.name == "gelu_tf":
            return functional.gelu(x, approximate="tanh")
        if self.name == "relu":
            return torch.relu(x)
        if self.name == "relu6":
            return functional.relu6(x)
        if self.name == "softplus":
            return functional.softplus(x)
        if self.name == "sigmoid":
            return torch.sigmoid(x)
        return x
