"""Errors on validation data by element and by system, in one table at the end of a training.

What the log has of validation data are a batch or two at a time. Here all systems have their share of frames.
"""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from deepmd.pt.utils.dataloader import collate_batch
from deepmd.pt.utils.env import DEVICE
from torch import Tensor

from deepmd_dpa4.breakdown import QUANTITIES, Breakdown
from deepmd_dpa4.files import write_text
from deepmd_dpa4.host.compat import folder_data

log = logging.getLogger("deepmd.dpa4")

MOST_FRAMES = 256
"""Frames, evenly spaced over the data, that are evaluated; each takes a third of a training step of its size."""
CONDITIONS = ("box", "fparam", "aparam", "charge_spin")


@dataclass(frozen=True)
class Found:
    """Errors of a branch, and how many frames they are of."""

    branch: str
    errors: Breakdown
    frames: int
    total: int

    def lines(self) -> list[str]:
        """Write the table."""
        branch = "" if self.branch == "Default" else f"branch {self.branch}, "
        width = max((len(name) for _, name, _ in self.errors.rows()), default=0)
        title = f"{branch}RMSE of {self.frames} of {self.total} frames of validation data, meV/atom and meV/A"
        lines = [title, f"{'':{8 + width}} {'frames':>7} {'atoms':>8} {'energy':>10} {'force':>10} {'virial':>10}"]
        for kind, name, sums in self.errors.rows():
            figures = ["-" if math.isnan(value) else f"{1000 * value:.4g}" for value in map(sums.rmse, QUANTITIES)]
            numbers = " ".join(f"{figure:>10}" for figure in figures)
            lines.append(f"{kind:7} {name:{width}} {sums.frames:7d} {sums.atoms:8d} {numbers}")
        return lines


def report(trainer: Any) -> None:
    """Log the errors of the last step, and write them beside the learning curve.

    Parameters
    ----------
    trainer : Any
        DeePMD-kit's trainer, which has trained.
    """
    texts = ["\n".join(found.lines()) for found in validate(trainer)]
    for text in texts:
        log.info(text)
    if texts:
        curve = Path(trainer.disp_file)
        write_text(curve.with_name(f"{curve.stem}_validation{curve.suffix}"), "\n\n".join(texts) + "\n")


def validate(trainer: Any) -> Iterator[Found]:
    """Evaluate the validation data of each branch that has folders of them."""
    wrapper = getattr(trainer.wrapper, "module", trainer.wrapper)  # inside of the parallel one
    loaders = trainer.validation_dataloader if trainer.multi_task else {"Default": trainer.validation_dataloader}
    for branch, loader in loaders.items():
        systems = getattr(getattr(loader, "dataset", None), "systems", None)
        if not systems or folder_data(systems[0]) is None:
            continue
        model = wrapper.model[branch]
        total = sum(map(len, systems))
        chosen = np.unique(np.linspace(0, total - 1, min(total, MOST_FRAMES)).round().astype(int))
        errors, training = Breakdown(), model.training
        model.eval()
        try:
            first = 0
            for system in systems:
                for frame in chosen[(chosen >= first) & (chosen < first + len(system))] - first:
                    add(errors, model, str(system.system), collate_batch([system[int(frame)]]))
                first += len(system)
        finally:
            model.train(training)
        yield Found(branch, errors, len(chosen), total)


def add(errors: Breakdown, model: Any, system: str, batch: dict[str, Any]) -> None:
    """Evaluate a frame and take its errors."""
    given = {name: batch.get(name) for name in ("coord", "atype", *CONDITIONS)}
    for name in CONDITIONS:
        if batch.get(f"find_{name}", 1.0) == 0.0:
            given[name] = None
    given = {name: None if value is None else value.to(DEVICE) for name, value in given.items()}
    predicted = model(**given)
    atype = batch["atype"][0].numpy()
    there = atype >= 0
    type_map = model.get_type_map()
    found = {
        name: (predicted[name][0].detach().cpu() - label).numpy()
        for name in QUANTITIES
        if (label := label_of(batch, name, predicted)) is not None
    }
    energy = float(found["energy"].sum()) if "energy" in found else None
    force = found["force"][there] if "force" in found else None
    errors.add(system, [type_map[index] for index in atype[there]], energy, force, found.get("virial"))


def label_of(batch: dict[str, Any], name: str, predicted: dict[str, Tensor]) -> Tensor | None:
    """Return a label in the shape of its prediction, None where the frame has none."""
    if not batch.get(f"find_{name}", 0.0) or name not in predicted:
        return None
    label: Tensor = batch[name].reshape(predicted[name].shape)[0]
    return label
