"""``dp --pt freeze`` for our models: the suffix of the output decides the format."""

import io
import logging
from pathlib import Path
from typing import Any

import torch
from deepmd.pt.entrypoints import main as host_main
from deepmd.pt.entrypoints.freeze_pt2 import is_sezm_checkpoint
from deepmd.pt.infer.inference import Tester

from deepmd_dpa4.host.model import ModelDPA4

log = logging.getLogger("deepmd.dpa4")

PORTABLE, COMPILED = ".pth", ".pt2"

_host_freeze = host_main.freeze


def freeze(model: str, output: str = "frozen_model.pth", head: str | None = None) -> None:
    """Freeze a checkpoint; other models than DPA4 go to DeePMD-kit unchanged.

    Parameters
    ----------
    model : str
        Checkpoint, ``.pt``.
    output : str
        ``*.pth`` = TorchScript, portable between machines and devices; ``*.pt2`` = compiled for this machine. Without
        a suffix ``.pth`` is added.
    head : str, optional
        Branch of a multi-task checkpoint.

    Raises
    ------
    ValueError
        If the suffix is neither.
    """
    path = Path(output)
    if not is_sezm_checkpoint(model):
        _host_freeze(model=model, output=output, head=head)
        return
    if path.suffix not in ("", PORTABLE, COMPILED):
        raise ValueError(f"`--output` is {output!r} but must end in {PORTABLE} or {COMPILED}")
    if path.suffix == COMPILED:
        _host_freeze(model=model, output=output, head=head)
        return
    tester = Tester(model, head=head)
    if not isinstance(tester.model, ModelDPA4):
        log.warning("this model runs in the official implementation, which freezes to %s only", COMPILED)
        _host_freeze(model=model, output=output, head=head)
        return
    path = path.with_suffix(PORTABLE)
    save_script(tester, path)
    log.info("Saved frozen model to %s", path)


def save_script(tester: Any, path: Path) -> None:
    """Write the TorchScript form of a loaded checkpoint, with the data modifier if there is one."""
    extra_files: dict[str, Any] = {"data_modifier.pth": ""}
    if tester.modifier is not None:
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.script(tester.modifier.eval()), buffer)
        extra_files["data_modifier.pth"] = buffer.getvalue()
    torch.jit.save(torch.jit.script(tester.model.eval()), str(path), extra_files)
