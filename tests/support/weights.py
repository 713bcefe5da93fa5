"""Weights for tests: the reproducible formula of the golden values, and noise on top of the initial ones."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def golden_weight(name: str, parameter: Tensor) -> Tensor:
    """Value of the parameter with full name ``name`` by the recipe of theory 10."""
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "adam_freqs":
        return parameter.detach().clone()
    if name.endswith("strength_log"):
        return torch.full_like(parameter, -1.0)
    n = torch.arange(parameter.numel(), dtype=torch.int64)
    h = ((n * n % 2**31) * 1103515245 + n * 69069 + sum(name.encode()) * 12345) % 2**31
    a = (h.double() / 2**30 - 1.0).view(parameter.shape)
    if leaf == "adam_scale":
        value = 1.0 + 0.1 * a
    elif parameter.dim() >= 2:
        value = 1.5 * a / math.sqrt(parameter.shape[-2])
    else:
        value = 0.1 * a
    return value.to(parameter)


@torch.no_grad()
def fill_golden(named_parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
    """Write the golden weights; names are full, as in a checkpoint."""
    for name, parameter in named_parameters:
        parameter.copy_(golden_weight(name, parameter))


@torch.no_grad()
def perturb(module: nn.Module, seed: int = 0, *, scale: float) -> None:
    """Noise on every parameter, so that branches that start at zero take part."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        if name.endswith(("adam_freqs", "strength_log")):
            continue
        width = math.sqrt(parameter.shape[-2]) if parameter.dim() >= 2 else 4.0
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.add_((scale / width * noise).to(parameter))
