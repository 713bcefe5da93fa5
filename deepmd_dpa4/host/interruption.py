"""Trainings that are interrupted: the step at hand is finished, a checkpoint written, and the process ends."""

import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType, SimpleNamespace
from typing import Any, NoReturn

import torch
import torch.distributed as dist

from deepmd_dpa4.host.latest_checkpoint import Publisher

log = logging.getLogger("deepmd.dpa4")

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ECHO = 1.0
"""Seconds within which a second Ctrl-C is the same one: a terminal sends it to the launcher and to its processes."""


class Interruption:
    """Remembers a signal until the trainer comes to a place where it can stop.

    A trainer asks its learning rate at the start of every step, which is where :meth:`value` looks.

    Parameters
    ----------
    trainer : Any
        DeePMD-kit's trainer.
    schedule : Any
        Its learning rate as a function of the step.
    """

    def __init__(self, trainer: Any, schedule: Any) -> None:
        self.trainer = trainer
        self.schedule = schedule
        self.process = os.getpid()
        self.received: int | None = None
        self.since = 0.0
        self.done = trainer.start_step

    def __getattr__(self, name: str) -> Any:
        return getattr(self.schedule, name)

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Note a signal; a second Ctrl-C, later than an echo of the first, ends the process at once."""
        if os.getpid() != self.process:  # a process that loads data
            return
        if self.received is None:
            self.received, self.since = number, time.monotonic()
            log.info("%s: a checkpoint follows this step", signal.Signals(number).name)
        elif number == signal.SIGINT and time.monotonic() - self.since > ECHO:
            raise KeyboardInterrupt

    def agreed(self) -> int:
        """Tell the signal that any process of the training has received, or 0."""
        received = self.received or 0
        if not parallel():
            return received
        largest = torch.tensor(received)  # on the CPU, so that no device waits
        dist.all_reduce(largest, op=dist.ReduceOp.MAX)
        return int(largest)

    def value(self, step: int, *args: Any) -> Any:
        """Compute the learning rate of a step, which is where a training may end.

        Parameters
        ----------
        step : int
            Index of the step, from 0.

        Raises
        ------
        SystemExit
            As :meth:`stop`.
        """
        self.done = step
        if number := self.agreed():
            self.stop(number)
        return self.schedule.value(step, *args)

    def count(self, *_: Any) -> None:
        """Count a step that the optimizer has made."""
        self.done += 1

    def stop(self, number: int) -> NoReturn:
        """Write a checkpoint of the steps that are done, and end the training.

        Raises
        ------
        SystemExit
            With 128 and the number of the signal, as of a process that the signal has ended.
        """
        name = signal.Signals(number).name
        if self.done == self.trainer.start_step:
            log.warning("interrupted by %s before the first step", name)
        else:
            save(self.trainer, self.done, float(self.schedule.value(self.done - 1)))
            log.warning(
                "interrupted by %s after step %d; go on with --restart %s", name, self.done, self.trainer.latest_model
            )
        raise SystemExit(128 + number)


def parallel() -> bool:
    """Tell whether several processes train."""
    return dist.is_available() and dist.is_initialized()


def save(trainer: Any, done: int, rate: float) -> None:
    """Write the checkpoints that a trainer writes by itself at other steps.

    Parameters
    ----------
    trainer : Any
        DeePMD-kit's trainer.
    done : int
        Steps that are done, at least one.
    rate : float
        Learning rate of the last one.
    """
    gradients = getattr(trainer, "nonfinite_grad_guard", None)
    if gradients is not None:
        gradients.raise_if_nonfinite(trainer.wrapper.named_parameters)
    scheduler = getattr(trainer, "scheduler", None)
    rate = scheduler.get_last_lr()[0] if scheduler is not None else rate
    store = getattr(trainer, "ckpt_store", None)
    if store is None:  # DeePMD-kit 3.1
        trainer.latest_model = Path(f"{trainer.save_ckpt}-{done}.pt")
        if trainer.rank == 0:
            trainer.save_model(trainer.latest_model, lr=rate, step=done - 1)
            names = SimpleNamespace(prefix=trainer.save_ckpt, suffix=".pt", pointer_file="checkpoint")
            Publisher(names)(trainer.latest_model)
        return
    trainer.latest_model = store.path_for(done)
    everyone = trainer.sharding.enabled  # all processes hold parts of the state
    if everyone or trainer.rank == 0:
        trainer.save_model(trainer.latest_model, lr=rate, step=done - 1)
        if trainer.rank == 0:
            store.publish(trainer.latest_model)
    if trainer.model_ema is not None and (everyone or trainer.rank == 0):
        trainer.latest_ema_model = trainer.ema_ckpt_store.path_for(done)
        trainer.save_ema_model(trainer.latest_ema_model, lr=rate, step=done - 1)
        if trainer.rank == 0:
            trainer.ema_ckpt_store.publish(trainer.latest_ema_model)


@contextmanager
def interruptible(trainer: Any) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the steps of a trainer with a checkpoint.

    Parameters
    ----------
    trainer : Any
        DeePMD-kit's trainer.
    """
    name = "lr_schedule" if hasattr(trainer, "lr_schedule") else "lr_exp"  # DeePMD-kit 3.2, 3.1
    schedule = getattr(trainer, name)
    # only the main thread receives signals; 3.1 has a dictionary where branches have rates of their own
    if isinstance(schedule, dict) or current_thread() is not main_thread():
        yield
        return
    interruption = Interruption(trainer, schedule)
    before = {number: signal.signal(number, interruption.receive) for number in SIGNALS}
    counting = trainer.optimizer.register_step_post_hook(interruption.count)
    setattr(trainer, name, interruption)
    try:
        yield
    except Exception:
        # a signal to all processes of a job also ends those that hand over data
        if interruption.received is None or parallel():
            raise
        interruption.stop(interruption.received)
    finally:
        counting.remove()
        setattr(trainer, name, schedule)
        for number, handler in before.items():
            signal.signal(number, handler)
        if interruption.received is not None and parallel():
            dist.destroy_process_group()
