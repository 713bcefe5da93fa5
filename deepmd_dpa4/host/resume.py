"""Checkpoints that a training goes on from."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from deepmd_dpa4.checkpoint.read import load_mapped
from deepmd_dpa4.host.loading import examined

log = logging.getLogger("deepmd.dpa4")


@contextmanager
def resumable(checkpoint: str | None) -> Iterator[str | None]:
    """Give the path of a checkpoint in a form that DeePMD-kit's trainer reads.

    The trainer fails on files that hold weights under ``model`` and no ``optimizer``, as released models and averaged
    weights do; it takes the bare weights, with a fresh optimizer.

    Parameters
    ----------
    checkpoint : str, optional
        File that ``--restart`` or ``--init-model`` names.
    """
    if checkpoint is None or not examined(Path(checkpoint)):
        yield checkpoint
        return
    content = load_mapped(checkpoint)
    if "model" not in content or "optimizer" in content:
        yield checkpoint
        return
    log.info("%s holds no state of the optimizer, which starts afresh", checkpoint)
    with tempfile.TemporaryDirectory(prefix="dpa4-") as folder:
        bare = Path(folder) / Path(checkpoint).name
        torch.save(content["model"], bare)
        yield str(bare)
