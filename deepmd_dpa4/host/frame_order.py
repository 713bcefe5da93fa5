"""Order in which a training draws frames and branches, kept in checkpoints so that a restart goes on with it."""

import atexit
import functools
import logging
import signal
import weakref
from collections.abc import Callable, Iterator
from itertools import islice
from types import GeneratorType
from typing import Any

import numpy as np
import torch
from deepmd.pt.utils.dataloader import DpLoaderSet
from deepmd.utils import random as host_random
from torch.utils.data import DataLoader, Sampler

from deepmd_dpa4.checkpoint.read import FRAME_ORDER, load_mapped

log = logging.getLogger("deepmd.dpa4")


class Start(int):
    """Index of a system, with those of the batches that the process which loads it passes over before."""

    passed: list[int]

    def __new__(cls, index: int, passed: list[int]) -> "Start":
        start = super().__new__(cls, index)
        start.passed = passed
        return start

    def __getnewargs__(self) -> tuple[int, list[int]]:  # type: ignore[override]
        return int(self), self.passed


class PassingSampler(Sampler[int]):
    """Draw the systems that batches come from, and leave out the first ones of a pass.

    Parameters
    ----------
    sampler : Sampler
        Draws the indices of the systems.
    loading : int
        Number of processes that load batches, in turn.
    """

    def __init__(self, sampler: Any, loading: int) -> None:
        self.sampler = sampler
        self.loading = loading
        self.skipped = 0

    def __iter__(self) -> Iterator[int]:
        """Yield indices; the first one for each process tells it what it passes over."""
        indices = iter(self.sampler)
        passed = list(islice(indices, self.skipped))
        if passed:
            for process, index in enumerate(islice(indices, self.loading)):
                yield Start(index, passed[process :: self.loading])
        yield from indices


def passing_over(read: Callable[[Any, int], dict[str, Any]]) -> Callable[[Any, int], dict[str, Any]]:
    """Let ``DpLoaderSet.__getitem__`` draw batches that a training had before without reading them."""

    @functools.wraps(read)
    def pass_over_and_read(self: Any, index: int) -> dict[str, Any]:
        for system in index.passed if isinstance(index, Start) else ():
            with torch.device("cpu"):
                try:
                    self.iters[system]._next_index()
                except StopIteration:
                    self.iters[system] = iter(self.dataloaders[system])
                    self.iters[system]._next_index()
        return read(self, int(index))

    return pass_over_and_read


def outlive_signals(_: int) -> None:
    """Let a process that loads batches go on when a signal to all processes of a job ends the training.

    The training still has a step to finish, and a process that dies meanwhile may take it along. :meth:`Batches.close`
    ends this process; where it hangs, a second SIGTERM does.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


class Batches:
    """Draw batches from a loader without end, in an order that can be taken up again.

    Processes that load data take their random numbers from the main one when a pass over the loader begins. The random
    numbers of that moment and the number of batches since then therefore determine all that follows.

    Parameters
    ----------
    loader : DataLoader
        With at least one process of its own, over a ``DpLoaderSet``.
    """

    def __init__(self, loader: "DataLoader[Any]") -> None:
        if not hasattr(DpLoaderSet.__getitem__, "__wrapped__"):
            DpLoaderSet.__getitem__ = passing_over(DpLoaderSet.__getitem__)
        self.sampler = PassingSampler(loader.sampler, loader.num_workers)
        self.loader: DataLoader[Any] = DataLoader(
            loader.dataset,
            sampler=self.sampler,
            batch_size=None,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            worker_init_fn=outlive_signals,
        )
        self.began: torch.Tensor | None = None
        self.drawn = 0
        self._pass: Iterator[Any] = iter(())
        # at the end of the process multiprocessing waits for those that it has sent one SIGTERM, which they outlive
        closing = weakref.WeakMethod(self.close)
        atexit.register(lambda: (close := closing()) and close())

    def close(self) -> None:
        """End the processes that load batches; a pass that is drawn from later begins anew."""
        drawing: Any = self._pass
        self._pass = iter(())
        if hasattr(drawing, "_shutdown_workers"):
            drawing._shutdown_workers()

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> Any:
        """Draw a batch; after the last one of a pass, the first one of another."""
        while True:
            for batch in self._pass:
                self.drawn += 1
                return batch
            self._begin(0)

    def _begin(self, drawn: int) -> None:
        self.began = torch.get_rng_state()
        read = drawn % self.loader.num_workers  # each process passes over as many as the others
        self.sampler.skipped = drawn - read
        with torch.device("cpu"):
            self._pass = iter(self.loader)
        for _ in range(read):
            next(self._pass)
        self.drawn = drawn

    def settings(self) -> dict[str, Any]:
        """Collect what the order follows from, besides random numbers."""
        data: Any = self.loader.dataset
        weights = getattr(self.sampler.sampler, "weights", torch.ones(0))
        return {
            "batches of the systems": [int(number) for number in data.index],
            "batch sizes": [int(size) for size in data.batch_sizes],
            "probabilities of the systems": [float(weight) for weight in weights],
            "processes that load data (NUM_WORKERS)": self.loader.num_workers,
        }

    def state(self) -> dict[str, Any]:
        """Tell where it is, in types that torch reads as weights."""
        return {"began": self.began, "drawn": self.drawn, "settings": self.settings()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go where a state says; batches before it are passed over without reading them."""
        if state["began"] is not None:
            torch.set_rng_state(state["began"])
            self._begin(int(state["drawn"]))


class FrameOrder:
    """Order in which a trainer draws branches and batches, for its checkpoints and from them.

    Parameters
    ----------
    batches : dict[str, Batches]
        By part of the data and branch; empty where the order is lost.
    """

    def __init__(self, batches: dict[str, Batches]) -> None:
        self.batches = batches
        self.branches: Any = None

    def step_made(self, *_: Any) -> None:
        """Remember what the next branch will be drawn with; a training ends between that draw and the step."""
        self.branches = host_random._RANDOM_GENERATOR.get_state(legacy=True)

    def state(self) -> dict[str, Any]:
        """Collect random numbers and positions for a checkpoint, in types that torch reads as weights."""
        branches = self.branches or host_random._RANDOM_GENERATOR.get_state(legacy=True)
        name, keys, *rest = branches
        return {
            "torch": torch.get_rng_state(),
            "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
            "batches": {name: part.state() for name, part in self.batches.items()},
        }

    def restore(self, checkpoint: str) -> None:
        """Take up the order of a checkpoint, or say why frames are drawn as at the beginning of a training."""
        content = load_mapped(checkpoint)
        kept = content.get(FRAME_ORDER) if "model" in content else None
        reason = self._difference(kept)
        if kept is None or reason:
            log.info("frames are drawn as at the beginning of a training: %s", reason)
            return
        for name, part in self.batches.items():
            part.restore(kept["batches"][name])
        name, keys, *rest = kept["numpy"]
        host_random._RANDOM_GENERATOR.set_state((name, keys.numpy().astype(np.uint32), *rest))
        torch.set_rng_state(kept["torch"])

    def _difference(self, kept: dict[str, Any] | None) -> str:
        if kept is None:
            return "the checkpoint does not say where the last one stopped"
        if not self.batches or not kept["batches"]:
            return "with several processes, LMDB or `NUM_WORKERS=0` their order cannot be taken up again"
        if self.batches.keys() != kept["batches"].keys():
            return "branches or validation data are others than those of the checkpoint"
        for name, part in self.batches.items():
            settings = kept["batches"][name]["settings"]
            for key, value in part.settings().items():
                if settings[key] != value:
                    return f"{key} were {settings[key]} and are {value}"
        return ""


def follow(trainer: Any) -> FrameOrder:
    """Let a trainer draw its batches through :class:`Batches` where their order can be taken up again.

    That is not the case with several processes, whose random numbers are in no checkpoint, with data of LMDB, with
    ``NUM_WORKERS=0``, and with DeePMD-kit 3.1.
    """
    found: dict[str, Batches] = {}
    places: list[tuple[dict[str, Any], str]] = []
    if trainer.world_size > 1:
        return FrameOrder({})
    for name in ("training_data", "validation_data"):
        draws, loaders = getattr(trainer, name), getattr(trainer, f"{name.removesuffix('_data')}_dataloader")
        holder, of_name = (draws, loaders) if isinstance(draws, dict) else (vars(trainer), {name: loaders})
        for branch in of_name:
            draws, loader = holder[branch], of_name[branch]
            if draws is None:
                continue
            if not (isinstance(draws, GeneratorType) and isinstance(loader, DataLoader) and loader.num_workers):
                return FrameOrder({})
            found[f"{name} {branch}"] = Batches(loader)
            places.append((holder, branch))
    for (holder, branch), part in zip(places, found.values(), strict=True):
        holder[branch] = part
    return FrameOrder(found)
