"""Data folders of a training, looked through before DeePMD-kit reads them.

DeePMD-kit maps arrays into memory by what their headers say and asks little about the contents: an array of Python
objects makes it follow bytes of the file as pointers, and wrong types, missing labels or surplus frames train a wrong
model without a word.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from deepmd_dpa4.host import hdf5
from deepmd_dpa4.host.data_folders import check_names, systems_of
from deepmd_dpa4.host.npy_files import (
    FINITE,
    Array,
    DataError,
    first_bad_frame,
    read_header,
    refuse_bad_frame,
    refuse_impossible_state,
)
from deepmd_dpa4.type_names import mentions_ours

log = logging.getLogger("deepmd.dpa4")

LABELS = ("energy", "force", "virial")
STATE = "charge_spin"
PREFACTORS = {"energy": "pref_e", "force": "pref_f"}
"""Labels that the trainer does without if no file has them, and the end of the names of their prefactors."""
WIDTHS = {"coord": (0, 3), "box": (9, 0), "energy": (1, 0), "force": (0, 3), "virial": (9, 0), "charge_spin": (2, 0)}
WIDTHS |= dict.fromkeys(("real_atom_types", "atom_ener", "atomic_ener"), (0, 1))
"""How many numbers a file has for each frame: a fixed count, and one for each atom."""
BUDGET = 4 * 2**30
"""Bytes of arrays that are looked through, about 2 s; of the rest only the headers."""


@dataclass
class Inspection:
    """What is known of the folders that were looked through.

    Parameters
    ----------
    labels : dict
        Names of the labels of each folder, and for each whether all of its sets have it.
    budget : int
        Bytes of arrays that may still be read.
    skipped : int
        Files whose values were not read.
    """

    labels: dict[tuple[str, ...], dict[str, bool]] = field(default_factory=dict)
    budget: int = BUDGET
    skipped: int = 0


def check_training(config: dict[str, Any]) -> None:
    """Check type maps and data folders of all models of ours in a training input.

    Parameters
    ----------
    config : dict
        The complete input, after DeePMD-kit has filled in its defaults.

    Raises
    ------
    DataError
        If a type map repeats a name, a file is not what DeePMD-kit takes it for, or one is missing; names the file.
    """
    check_tensorboard(config)
    inspection = Inspection()
    for place, section, data, loss in branches(config):
        names = section.get("type_map") or []
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise DataError(f"`{place}/type_map` repeats {', '.join(map(repr, repeated))}: name each element once")
        descriptor = section.get("descriptor") or {}
        charged = bool(isinstance(descriptor, dict) and descriptor.get("add_chg_spin_ebd"))
        for kind in ("training_data", "validation_data"):
            part = data.get(kind) or {}
            if not part.get("systems") and kind == "validation_data":
                continue
            systems = systems_of(part, f"{data_place(place)}/{kind}")
            for system in filter(hdf5.is_hdf5, systems):
                read, skipped = hdf5.check_system(system, inspection.budget, charged)
                inspection.budget -= read
                inspection.skipped += skipped
            folders = [Path(system) for system in systems if (Path(system) / "type.raw").is_file()]
            check_formats(folders)
            found = [check_folder(folder, names, place, inspection, charged) for folder in folders]
            if charged and descriptor.get("default_chg_spin") is None:
                check_states(folders, found, place)
            # labels of other files are not known, so none is said to be missing
            if kind == "training_data" and found and len(found) == len(systems):
                check_presence(folders, found, *loss)
    if inspection.skipped:
        log.info("%d large files of the data were not checked for NaN", inspection.skipped)


def check_tensorboard(config: dict[str, Any]) -> None:
    """Refuse to log for a package that is not there, before the data are gone through.

    Raises
    ------
    DataError
        If `training/tensorboard` is true and TensorBoard is not installed.
    """
    wanted = config["training"].get("tensorboard") and mentions_ours(config["model"])
    if wanted and find_spec("tensorboard") is None:
        raise DataError(
            "`training/tensorboard` is true but must be false where the package is missing: pip install tensorboard"
        )


def branches(
    config: dict[str, Any],
) -> Iterator[tuple[str, dict[str, Any], dict[str, Any], tuple[str, dict[str, Any]]]]:
    """Yield path and section of each model of ours, its data, and path and section of its loss."""
    model, training = config["model"], config.get("training") or {}
    if "model_dict" not in model:
        if mentions_ours(model):
            yield "model", model, training, ("loss", config.get("loss") or {})
        return
    for name, section in model["model_dict"].items():
        if mentions_ours(section):
            data = (training.get("data_dict") or {}).get(name) or {}
            loss = (config.get("loss_dict") or {}).get(name) or {}
            yield f"model/model_dict/{name}", section, data, (f"loss_dict/{name}", loss)


def data_place(place: str) -> str:
    """Return the path of the data of a model, given that of its section."""
    return "training" if place == "model" else f"training/data_dict/{place.rpartition('/')[2]}"


def check_folder(
    folder: Path, type_map: list[str], place: str, inspection: Inspection, charged: bool = False
) -> dict[str, bool]:
    """Check one folder, unless it was, and tell for each label whether all sets have it; absent ones are left out.

    Charges and spins are checked if the model reads them (``charged``), and are told as a label is.
    """
    key = (str(folder), *([STATE] if charged else []), *type_map)
    if key in inspection.labels:
        return inspection.labels[key]
    sets = sorted(path for path in folder.glob("set.*") if path.is_dir())
    limit = check_names(folder, type_map, place)
    atoms = check_types(folder / "type.raw", limit, is_mixed(folder))
    present: list[set[str]] = []
    for part in sets:
        arrays = {path.stem: read_header(path) for path in sorted(part.glob("*.npy"))}
        frames = check_frames(part, arrays, atoms)
        if "real_atom_types" in arrays:
            check_mixed_types(arrays["real_atom_types"], limit)
        for name in FINITE:
            if name in arrays:
                check_values(arrays[name], frames, inspection)
        if charged and STATE in arrays:
            refuse_impossible_state(arrays[STATE].path, np.asarray(arrays[STATE].values()))
        present.append({name for name in (*LABELS, STATE) if name in arrays})
    anywhere = set().union(*present)
    labels = {name: all(name in names for names in present) for name in anywhere}
    inspection.labels[key] = labels
    return labels


def check_types(file: Path, limit: int, mixed: bool) -> int:
    """Check the types of a folder and return how many atoms it has.

    Types of the mixed format stand in another file; those of this one are not used, but DeePMD-kit counts with them.
    """
    try:
        types = np.loadtxt(file, ndmin=1)
    except ValueError as error:
        raise DataError(f"{file} is not a list of numbers: {error}") from error
    wrong = [value for value in np.unique(types).tolist() if value != int(value) or not 0 <= value < limit]
    if wrong and not mixed:
        raise DataError(
            f"{file} holds type index {wrong[0]:g} but must hold numbers from 0 to {limit - 1}, the positions in "
            "type_map.raw, or in `type_map` of the model where that file is missing"
        )
    return int(types.size)


def check_mixed_types(array: Array, limit: int) -> None:
    """Check the types of a set of the mixed format, where -1 is a place without an atom."""
    types = array.values()
    if types.size == 0:
        return
    for wrong in (int(types.min()), int(types.max())):
        if not -1 <= wrong < limit:
            raise DataError(
                f"{array.path} holds type index {wrong} but must hold positions in type_map.raw, from 0 to "
                f"{limit - 1}, or -1 where there is no atom"
            )


def check_frames(part: Path, arrays: dict[str, Array], atoms: int) -> int:
    """Check that every file of a set holds numbers, for as many frames as ``coord.npy``, and return how many."""
    coord = arrays.get("coord")
    if coord is None:
        raise DataError(f"{part} has no coord.npy: complete or remove the folder")
    frames = coord.shape[0] if len(coord.shape) > 1 else 1
    for name, (fixed, per_atom) in WIDTHS.items():
        if name not in arrays:
            continue
        arrays[name].check_numbers()
        width, size = fixed + per_atom * atoms, arrays[name].size
        if size != frames * width:
            raise DataError(
                f"{arrays[name].path} has {size} numbers but must have {frames * width}: {width} for each of the "
                f"{frames} frames of coord.npy"
            )
    for name in ("fparam", "aparam"):
        shape = arrays[name].shape if name in arrays else ()
        if len(shape) > 1 and frames > 1 and shape[0] != frames:
            raise DataError(f"{arrays[name].path} has {shape[0]} frames but must have {frames}, as coord.npy")
    return frames


def check_values(array: Array, frames: int, inspection: Inspection) -> None:
    """Check that an array is finite, as long as the budget lasts."""
    if array.bytes > inspection.budget:
        inspection.skipped += 1
        return
    inspection.budget -= array.bytes
    refuse_bad_frame(array.path, first_bad_frame(array, frames))


def is_mixed(folder: Path) -> bool:
    """Tell whether a folder is of mixed type: each frame has types of its own."""
    return any(part.is_file() for part in folder.glob("set.*/real_atom_types.npy"))


def check_formats(folders: Iterable[Path]) -> None:
    """Check that folders have one format, which DeePMD-kit takes for granted; raises :class:`DataError`."""
    formats = {is_mixed(folder): folder for folder in folders}
    if len(formats) > 1:
        raise DataError(
            f"{formats[True]} is of mixed type (it has real_atom_types.npy) and {formats[False]} is not, but "
            "DeePMD-kit takes systems of one format: `dpa4 data convert --mixed` writes all as mixed type"
        )


def check_states(folders: Iterable[Path], found: list[dict[str, bool]], place: str) -> None:
    """Check that all frames have a charge and a spin for a model that has no default; raises :class:`DataError`."""
    for folder, labels in zip(folders, found, strict=True):
        if not labels.get(STATE):
            raise DataError(
                f"`{place}/descriptor/add_chg_spin_ebd` is true but {folder} has no {STATE}.npy, or not in every set: "
                f"add the file, or set `{place}/descriptor/default_chg_spin` for frames without one"
            )


def check_presence(folders: Iterable[Path], found: list[dict[str, bool]], place: str, loss: dict[str, Any]) -> None:
    """Check that the labels that the loss asks for are there at all; those that lack somewhere get a warning."""
    if loss.get("type", "ener") != "ener":
        return
    for label, ending in PREFACTORS.items():
        wanted = [f"{when}_{ending}" for when in ("start", "limit") if loss.get(f"{when}_{ending}")]
        if not wanted:
            continue
        lacking = [folder for folder, labels in zip(folders, found, strict=True) if not labels.get(label)]
        if not any(label in labels for labels in found):
            raise DataError(
                f"`{place}/{wanted[0]}` is {loss[wanted[0]]} but no folder of the training data has {label}.npy, "
                f"{lacking[0]} for one: add the file, or set `start_{ending}` and `limit_{ending}` to 0"
            )
        if lacking:
            log.warning(
                "%d of %d folders of training data have no %s.npy, or not in every set, %s for one: these frames train "
                "the other labels only",
                len(lacking),
                len(found),
                label,
                lacking[0],
            )
