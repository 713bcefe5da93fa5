"""Noise on the weights of a network."""

import math

import torch

NOISE = 0.05
FIXED = ("adam_freqs", "strength_log")
"""Parameters that noise would turn into another cutoff or basis."""


@torch.no_grad()
def shake(model: torch.nn.Module) -> None:
    """Noise on the weights, so that the branches that start at zero take part in the comparison of results."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if not name.endswith(FIXED):
            width = math.sqrt(parameter.shape[-2]) if parameter.dim() >= 2 else 4.0
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_((NOISE / width * noise).to(parameter))
