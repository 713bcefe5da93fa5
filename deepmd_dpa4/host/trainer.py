"""The trainer of DeePMD-kit with models of ours: where it goes on, how it writes files, what it averages and logs."""

import logging
import math
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from deepmd_dpa4.checkpoint.read import FRAME_ORDER
from deepmd_dpa4.files import sync
from deepmd_dpa4.host import adam, validation
from deepmd_dpa4.host.compat import scheduler_counts_from_start
from deepmd_dpa4.host.descriptor import DescriptorDPA4
from deepmd_dpa4.host.folder_lock import Claim
from deepmd_dpa4.host.force_errors import ForceErrors, file_beside
from deepmd_dpa4.host.frame_order import FrameOrder, follow
from deepmd_dpa4.host.interruption import interruptible
from deepmd_dpa4.host.latest_checkpoint import Publisher
from deepmd_dpa4.host.muon import run_uncompiled
from deepmd_dpa4.host.optimizer_groups import route
from deepmd_dpa4.host.reading import read_in_turn

log = logging.getLogger("deepmd.dpa4")


def trains_ours(trainer: Any) -> bool:
    """Tell whether a trainer has a model of ours, in whichever branch."""
    return any(isinstance(module, DescriptorDPA4) for module in trainer.wrapper.modules())


def prepare(trainer: Any, claim: Claim | None, restart_model: str | None) -> None:
    """Ready a trainer of a model of ours.

    Its optimizer is told which matrices AdamW updates, and a restart begins with the step after the last one, which
    DeePMD-kit would repeat.

    Parameters
    ----------
    trainer : Any
        DeePMD-kit's trainer.
    claim : Claim, optional
        Of the files it writes; given up when the training ends.
    restart_model : str, optional
        Checkpoint that the training goes on from.
    """
    guard(trainer)
    trainer.claim = claim
    route(trainer)
    run_uncompiled(trainer)
    adam.fuse(trainer)
    read_in_turn()
    watch_forces(trainer)
    if restart_model is not None:
        advance(trainer)
        trainer.frame_order.restore(restart_model)


def guard(trainer: Any) -> None:
    """Give a trainer the methods of :class:`Guards`."""
    host = type(trainer)
    trainer.__class__ = type(host.__name__, (Guards, host), {})
    trainer.frame_order = follow(trainer)
    for name in ("ckpt_store", "ema_ckpt_store"):
        store = getattr(trainer, name, None)
        if store is not None and platform.system() != "Windows":  # where links need rights that users lack
            store.publish = Publisher(store)


def watch_forces(trainer: Any) -> None:
    """Let a guarded trainer log the largest force errors, those of the batches of the process that writes the log."""
    if trainer.rank != 0 or not trainer.display_in_training:
        return
    wrapper = getattr(trainer.wrapper, "module", trainer.wrapper)  # inside of the parallel one
    append = getattr(trainer, "restart_training", False)
    errors = ForceErrors(file_beside(trainer.disp_file), lambda branch: wrapper.model[branch].get_type_map(), append)
    trainer.force_errors = errors
    wrapper.register_forward_hook(errors.observe, with_kwargs=True)


@contextmanager
def no_subnormals() -> Iterator[None]:
    """Let torch take subnormal numbers for zero, in this thread and in those it starts, as the native kernels do.

    Sharp attention makes such numbers; a matrix product of them takes a hundred times as long on Intel processors.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


class Guards:
    """Methods that come before those of DeePMD-kit's trainer."""

    rank: int
    multi_task: bool
    display_in_training: bool
    force_errors: ForceErrors | None = None
    claim: Claim | None = None
    frame_order: FrameOrder
    optimizer: Any

    def run(self) -> None:
        """Train; Ctrl-C and SIGTERM end it with a checkpoint."""
        noting = self.optimizer.register_step_post_hook(self.frame_order.step_made)
        try:
            with interruptible(self), no_subnormals():
                super().run()  # type: ignore[misc]
            if self.rank == 0 and self.display_in_training and not self.shards_parameters():
                validation.report(self)
        finally:
            noting.remove()
            if self.claim is not None:
                self.claim.give_up()

    def shards_parameters(self) -> bool:
        """Tell whether no process has the whole model."""
        return bool(getattr(getattr(self, "sharding", None), "shards_parameters", False))

    def get_data(self, is_train: bool = True, task_key: str = "Default") -> tuple[dict[str, Any], ...]:
        """Fetch a batch, and remember where it came from for the largest force error."""
        batch: tuple[dict[str, Any], ...] = super().get_data(is_train, task_key)  # type: ignore[misc]
        if self.force_errors is not None and batch[0]:
            loader = getattr(self, "training_dataloader" if is_train else "validation_dataloader")
            loader = loader[task_key] if self.multi_task else loader
            self.force_errors.expect("trn" if is_train else "val", loader.dataset, batch[2])
        return batch

    def print_on_training(self, fout: Any, step_id: int, *args: Any) -> None:
        """Write a line of the learning curve, and one of the largest force errors."""
        super().print_on_training(fout, step_id, *args)  # type: ignore[misc]
        if self.force_errors is not None:
            self.force_errors.report(step_id)

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
        """Write a checkpoint beside its name first, so that under the name there is never a part of one.

        One that a training can go on from also says which frames come next.
        """
        if "optimizer" in checkpoint_data:
            checkpoint_data[FRAME_ORDER] = self.frame_order.state()
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
