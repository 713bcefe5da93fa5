"""MACE (package mace-torch), by its command `mace_run_train`.

Settings: `l1` is the example of its README and of https://mace-docs.readthedocs.io/en/latest/guide/training.html;
`paper` is the network of arXiv 2206.07697 for acetylacetone, 2.8 M parameters. Both in double precision, the default.
"""

import re
from pathlib import Path
from typing import Any, ClassVar

from programs import Job, Program

CHECKPOINT = re.compile(r"model_run-\d+_epoch-(\d+)(_swa)?\.pt")
SECOND_STAGE = 0.8
"""Part of the epochs before the weight of the energy goes up, as 1,200 of 1,500 in the example."""


class Mace(Program):
    """Epochs count from 0 and are saved where they are multiples of the interval, so one more is trained."""

    name = "mace"
    package = "mace-torch"
    settings: ClassVar[dict[str, dict[str, Any]]] = {
        "l1": {"hidden_irreps": "128x0e + 128x1o", "r_max": 5.0, "batch": 10},
        "paper": {"hidden_irreps": "256x0e + 256x1o + 256x2e", "r_max": 5.0, "batch": 5},
    }

    def command(self, job: Job) -> list[Any]:
        """Take the documented options; files and numbers of epochs are those of the job."""
        settings = self.settings[job.task.network]
        options = {
            **{"name": "model", "seed": job.task.seed, "model": "MACE", "work_dir": job.folder, "device": "cpu"},
            **{"train_file": job.training, "valid_file": job.validation, "E0s": "average"},
            **{"energy_key": "REF_energy", "forces_key": "REF_forces"},
            **{"hidden_irreps": settings["hidden_irreps"], "r_max": settings["r_max"]},
            **{"batch_size": settings["batch"], "valid_batch_size": settings["batch"]},
            **{"max_num_epochs": job.epochs + 1, "eval_interval": job.every},
            **{"start_swa": max(1, round(SECOND_STAGE * job.epochs)), "ema_decay": 0.99, "plot": False},
        }
        flags = ["swa", "ema", "amsgrad", "keep_checkpoints", "save_all_checkpoints"]
        if job.resume is not None:
            flags.append("restart_latest")
        words = [f"--{name}={value}" for name, value in options.items()]
        return [self.python.with_name("mace_run_train"), *words, *(f"--{flag}" for flag in flags)]

    def checkpoints(self, folder: Path) -> list[str]:
        """List files; epoch 0 is that of a network that has seen one epoch."""
        found = [path.name for path in (folder / "checkpoints").glob("*.pt") if CHECKPOINT.fullmatch(path.name)]
        return [f"checkpoints/{name}" for name in sorted(found, key=lambda name: self._index(name))]

    def epoch(self, mark: str) -> int:
        """Tell the epochs: the file with index N has seen N + 1."""
        return self._index(Path(mark).name) + 1

    def finished(self, folder: Path) -> bool:
        """Look for the network itself, which is written at the end; checkpoints hold weights alone."""
        return any((folder / "checkpoints").glob("*.model"))

    def batches(self, frames: int, batch: int) -> int:
        """Leave out a last batch that is not full, as MACE does."""
        return max(1, frames // batch)

    def _index(self, name: str) -> int:
        found = CHECKPOINT.fullmatch(name)
        assert found is not None, name
        return int(found[1])
