"""``dp --pt train INPUT`` on CPU processes that ``torchrun`` started, gloo in place of NCCL.

DeePMD-kit names a CUDA device in three places; they are replaced, all else is the training as users start it. Every
rank writes its weights to ``rank-N.pt`` at the end.
"""

import sys
from typing import Any

import deepmd.pt  # noqa: F401
import torch
from deepmd.main import main
from deepmd.pt.train import training
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

start = distributed.init_process_group
train = training.Trainer.run


def data_parallel(module: torch.nn.Module, **options: Any) -> DistributedDataParallel:
    """Without devices."""
    del options["device_ids"], options["output_device"]
    return DistributedDataParallel(module, **options)


def run(trainer: training.Trainer) -> None:
    """Train and write the weights of this rank."""
    train(trainer)
    torch.save(trainer.wrapper.module.state_dict(), f"rank-{trainer.rank}.pt")


if __name__ == "__main__":
    torch.cuda.set_device = lambda device: None
    distributed.init_process_group = lambda backend: start("gloo")
    training.DDP = data_parallel
    training.Trainer.run = run
    main(["--pt", "train", *sys.argv[1:]])
