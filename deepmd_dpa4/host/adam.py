"""The optimizers Adam and AdamW on CPUs."""

from typing import Any

import torch
from deepmd.pt.utils.env import DEVICE


def fuse(trainer: Any) -> None:
    """Let Adam and AdamW update all parameters in one operation, if they run on CPUs.

    DeePMD-kit has them fused on GPUs only. On CPUs a step is then a dozen small operations for each of some hundred
    parameters, half as many as a training step of a few small molecules has in all. Results differ by rounding.
    """
    optimizer = getattr(trainer.optimizer, "optim", trainer.optimizer)  # with sharded states it is inside of another
    if DEVICE.type == "cpu" and isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW):
        for group in optimizer.param_groups:
            group["fused"] = True
