"""The trainer of DeePMD-kit with models of ours: where it goes on, how it writes files, what it averages."""

import logging
import math
import os
import platform
import warnings
from pathlib import Path
from typing import Any

from deepmd_dpa4.files import sync, write_text
from deepmd_dpa4.host.compat import scheduler_counts_from_start
from deepmd_dpa4.host.descriptor import DescriptorDPA4

log = logging.getLogger("deepmd.dpa4")


def trains_ours(trainer: Any) -> bool:
    """Tell whether a trainer has a model of ours, in whichever branch."""
    return any(isinstance(module, DescriptorDPA4) for module in trainer.wrapper.modules())


def guard(trainer: Any) -> None:
    """Give a trainer the methods of :class:`Guards`."""
    host = type(trainer)
    trainer.__class__ = type(host.__name__, (Guards, host), {})
    for name in ("ckpt_store", "ema_ckpt_store"):
        store = getattr(trainer, name, None)
        if store is not None and platform.system() != "Windows":  # where links need rights that users lack
            store.publish = Publisher(store)


class Guards:
    """Methods that come before those of DeePMD-kit's trainer."""

    rank: int

    @property
    def step_count_per_task(self) -> "Counts":
        """Count the steps that each branch had since the last line of the log, for ``disp_avg``."""
        return self._counts

    @step_count_per_task.setter
    def step_count_per_task(self, counts: dict[str, int]) -> None:
        self._counts = Counts()
        for name, count in counts.items():
            self._counts[name] = count

    def _write_checkpoint(self, save_path: Path, checkpoint_data: dict[str, Any], *, store: Any) -> None:
        """Write a checkpoint beside its name first, so that under the name there is never a part of one."""
        partial = save_path.with_name(f".{save_path.name}.partial")
        write = super()._write_checkpoint  # type: ignore[misc]
        try:
            write(partial, checkpoint_data, store=store)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        if self.rank == 0:  # the others write nothing
            # a rename may reach the disk earlier than the contents
            sync(partial)
            partial.replace(save_path)
            # the first time it was asked before the new file had its name
            store.prune(save_path)


class Counts(dict[str, float]):
    """Numbers of steps to divide sums by; no step counts as NaN, so the average of nothing is NaN and no error."""

    def __setitem__(self, name: str, count: float) -> None:
        """Keep a count; NaN + 1 is what the first step makes of none."""
        super().__setitem__(name, math.nan if count == 0 else 1 if math.isnan(count) else count)


class Publisher:
    """Points ``model.ckpt.pt`` at a checkpoint without a moment in which it is missing.

    Parameters
    ----------
    store : Any
        DeePMD-kit's ``CheckpointStore``.
    """

    def __init__(self, store: Any) -> None:
        self.store = store

    def __call__(self, path: Path) -> None:
        """Make the link, and the file with the path of the newest checkpoint if there is to be one."""
        link = Path(f"{self.store.prefix}{self.store.suffix}")
        link.parent.mkdir(parents=True, exist_ok=True)
        partial = link.with_name(f".{link.name}.partial")
        partial.unlink(missing_ok=True)
        partial.symlink_to(os.path.relpath(path, link.parent))
        partial.replace(link)
        if self.store.pointer_file is not None:
            write_text(Path(self.store.pointer_file), str(path))


def advance(trainer: Any) -> None:
    """Let a restarted training begin with the step after the last one of its checkpoint.

    The checkpoint holds the index of the last step, with which DeePMD-kit would begin again. A training of no steps
    writes index 0 too, but its optimizer never made a step.
    """
    if trainer.start_step == 0 and not trainer.optimizer.state:
        return
    trainer.start_step += 1
    if trainer.start_step >= trainer.num_steps:
        log.warning(
            "the checkpoint has made all %d steps: raise `training/numb_steps` (now %d) to train on",
            trainer.start_step,
            trainer.num_steps,
        )
    scheduler = getattr(trainer, "scheduler", None)  # the optimizer LKF has none
    if scheduler is None:
        return
    if scheduler_counts_from_start():
        scheduler.last_epoch -= 1
    with warnings.catch_warnings():  # that no step of the optimizer came before
        warnings.simplefilter("ignore")
        scheduler.step()
