"""Optimizer steps of a multi-task model on one process, or on several with DistributedDataParallel over gloo.

Run as ``python -m tests.support.parallel FOLDER KERNELS ...``, by ``torchrun`` or alone: without ``RANK`` in the
environment one process sees the batches of all ranks. Writes the gradients of every step and the weights before and
after.
"""

import os
import sys
from pathlib import Path
from typing import NamedTuple

import deepmd.pt  # noqa: F401
import torch
from deepmd.pt.loss import EnergyStdLoss
from deepmd.pt.model.model import get_model
from deepmd.pt.train.wrapper import ModelWrapper
from deepmd.pt.utils.multi_task import preprocess_shared_params
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from tests.support import inputs
from tests.support.toy import TYPES, toy_frames

BRANCHES = ("one", "two", "own", "idle")


class Batch(NamedTuple):
    """Batch of one rank: frames, and how many of their atoms are there; the energy stays that of all."""

    branch: str
    frames: int
    atoms: int = len(TYPES)


# a step has a batch for each rank; branch `idle` has none
SCHEDULE = (
    (Batch("one", 1), Batch("two", 3)),
    (Batch("own", 2, 3), Batch("one", 1)),
    (Batch("two", 2, 4), Batch("two", 1)),
    (Batch("own", 1), Batch("own", 4, 5)),
    (Batch("two", 5), Batch("own", 1, 3)),
)


def make_wrapper(kernels: str) -> ModelWrapper:
    """Four branches with one descriptor: two share a fitting net, two have one of their own."""
    double = {"precision": "float64"}
    fitting = inputs.FITTING | double | {"dim_case_embd": len(BRANCHES)}
    shared = {"all": ["O", "H"], "net": inputs.DESCRIPTOR | double, "fit": fitting | {"case_film_embd": True}}
    section = {
        "shared_dict": shared,
        "model_dict": {
            name: {
                "type": "dpa4",
                "kernels": kernels,
                "type_map": "all",
                "descriptor": "net",
                "fitting_net": "fit" if name in ("one", "two") else {**fitting, "seed": 7},
            }
            for name in BRANCHES
        },
    }
    section, links = preprocess_shared_params(section)
    models = {name: get_model(section["model_dict"][name]) for name in BRANCHES}
    for number, model in enumerate(models.values()):
        model.set_case_embd(number)
    losses = {name: EnergyStdLoss(1e-3, **{k: v for k, v in inputs.LOSS.items() if k != "type"}) for name in BRANCHES}
    wrapper = ModelWrapper(models, losses)
    wrapper.share_params(links, dict.fromkeys(BRANCHES, 0.25), resume=True)
    return wrapper


def loss_of(wrapper: torch.nn.Module, batch: Batch, seed: int) -> torch.Tensor:
    """Loss of energies, forces and virials of a batch."""
    frames = toy_frames(batch.frames, seed)
    tensor = torch.from_numpy
    label = {
        "energy": tensor(frames.energy).view(-1, 1),
        "force": tensor(frames.force[:, : batch.atoms]),
        "virial": tensor(frames.virial),
    }
    label |= {f"find_{name}": 1.0 for name in label}
    coord = tensor(frames.coord[:, : batch.atoms].copy()).requires_grad_(True)
    types = torch.tensor(TYPES[: batch.atoms]).expand(batch.frames, -1)
    cell = tensor(frames.cell.reshape(-1, 9))
    _, loss, _ = wrapper(coord=coord, atype=types, box=cell, cur_lr=1e-3, label=label, task_key=batch.branch)
    return loss


def run(folder: Path, kernels: str) -> None:
    """All steps of this rank, or of all ranks on one process."""
    rank = os.environ.get("RANK")
    wrapper = make_wrapper(kernels)
    start = {name: value.clone() for name, value in wrapper.state_dict().items() if isinstance(value, torch.Tensor)}
    module: torch.nn.Module = wrapper
    if rank is not None:
        module = DistributedDataParallel(wrapper, find_unused_parameters=True)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3, weight_decay=1e-3)
    gradients = []
    for step, batches in enumerate(SCHEDULE):
        optimizer.zero_grad(set_to_none=True)
        losses = [
            loss_of(module, batch, seed=10 * step + number)
            for number, batch in enumerate(batches)
            if rank is None or number == int(rank)
        ]
        torch.stack(losses).mean().backward()
        gradients.append({name: p.grad.clone() for name, p in wrapper.named_parameters() if p.grad is not None})
        optimizer.step()
    end = {name: value for name, value in wrapper.state_dict().items() if isinstance(value, torch.Tensor)}
    torch.save({"start": start, "gradients": gradients, "end": end}, folder / f"{kernels}-{rank or 'whole'}.pt")


if __name__ == "__main__":
    if "RANK" in os.environ:
        distributed.init_process_group("gloo")
    for choice in sys.argv[2:]:
        run(Path(sys.argv[1]), choice)
    if distributed.is_initialized():
        distributed.destroy_process_group()
