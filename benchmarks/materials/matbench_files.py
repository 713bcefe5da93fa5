"""Files of a submission to Matbench Discovery: their names, their contents, and the errors that follow from them.

The rules are those of contributing.md and of the code that reads the files, in the repository
janosh/matbench-discovery as of July 2026.
"""

import csv
import gzip
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

DISCOVERY, GEOMETRY, PHONONS = "discovery.csv.gz", "geo-opt.jsonl.gz", "phonons-kappa-103.json.gz"
NAME = re.compile(r"(\d{4}-\d{2}-\d{2})-(.+)")
CRYSTALS, KAPPA_CRYSTALS = 256_963, 103
"""Structures of the WBM test set, and of the set for thermal conductivity."""
FORMATION = re.compile(r"e_form_per_atom(_.+)?")
TRUE_HULL, TRUE_FORMATION = "e_above_hull_mp2020_corrected_ppd_mp", "e_form_per_atom_mp2020_corrected"
PROTOTYPE = "unique_prototype"
OUTLIER = 5.0
"""Deviation in eV per atom beyond which a prediction counts as missing."""
MODES = ("kappa_tot_rta", "mode_kappa_tot_rta", "mode_weights")

Rows = dict[str, dict[str, str]]


class FormatError(ValueError):
    """A file that the pipeline would refuse."""


def role(name: str) -> str:
    """Tell what a file holds from its name, ``<yyyy-mm-dd>-<role>``.

    Raises
    ------
    FormatError
        If the name is not one that the pipeline accepts.
    """
    found = NAME.fullmatch(name)
    if found is None or found[2] not in (DISCOVERY, GEOMETRY, PHONONS):
        allowed = ", ".join(f"<yyyy-mm-dd>-{word}" for word in (DISCOVERY, GEOMETRY, PHONONS))
        raise FormatError(f"{name} must be one of {allowed}")
    return found[2]


def read_table(path: Path) -> Rows:
    """Read a compressed table by ``material_id``.

    Raises
    ------
    FormatError
        If it has no such column, an empty one, or one twice.
    """
    with gzip.open(path, "rt", newline="") as file:
        reader = csv.DictReader(file)
        if "material_id" not in (reader.fieldnames or ()):
            raise FormatError(f"{path.name} has no column `material_id`")
        rows: Rows = {}
        for row in reader:
            name = row["material_id"]
            if not name or name in rows:
                raise FormatError(f"{path.name} has {name!r} {'twice' if name else 'as `material_id`'}")
            rows[name] = row
    return rows


def formation_energies(path: Path) -> dict[str, float]:
    """Read the formation energies of a file of predictions, eV per atom; missing ones are NaN.

    Raises
    ------
    FormatError
        If there is not exactly one column of them, or it holds something else than numbers.
    """
    rows = read_table(path)
    columns = [name for name in next(iter(rows.values()), {}) if FORMATION.fullmatch(name)]
    if len(columns) != 1:
        raise FormatError(f"{path.name} has {columns} but must have one column `e_form_per_atom` or with an ending")
    return {name: number(path, row[columns[0]]) for name, row in rows.items()}


def number(path: Path, text: str) -> float:
    """Read a number; nothing is NaN.

    Raises
    ------
    FormatError
        If it is neither, or infinite.
    """
    try:
        value = float(text) if text else math.nan
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise FormatError(f"{path.name} has {text!r} where a finite number must be")
    return value


def relaxed(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the relaxed structures, with ``energy``, ``converged`` and ``n_steps``.

    Raises
    ------
    FormatError
        If a line is not one, or a crystal is there twice.
    """
    seen = set()
    with gzip.open(path, "rt") as file:
        for place, line in enumerate(file, 1):
            record = json.loads(line)
            missing = {"material_id", "energy", "converged", "n_steps"} - record.keys()
            if missing:
                raise FormatError(f"{path.name}, line {place}: {', '.join(sorted(missing))} missing")
            if record["material_id"] in seen:
                raise FormatError(f"{path.name}, line {place}: {record['material_id']} is there twice")
            structures = [value for value in record.values() if isinstance(value, dict) and "lattice" in value]
            if len(structures) != 1 or not structures[0].get("sites"):
                raise FormatError(f"{path.name}, line {place}: one structure with lattice and sites must be there")
            if not math.isfinite(record["energy"]):
                raise FormatError(f"{path.name}, line {place}: the energy is {record['energy']}")
            seen.add(record["material_id"])
            yield record


def conductivities(path: Path) -> dict[str, dict[str, Any]]:
    """Read the records of thermal conductivity, by ``material_id``.

    Raises
    ------
    FormatError
        If a crystal that did not fail lacks values or has values of the wrong shape.
    """
    with gzip.open(path, "rt") as file:
        content = json.load(file)
    if isinstance(content, dict):  # columns, as pandas writes them
        places = next(iter(content.values()), {})
        content = [{key: column[place] for key, column in content.items()} for place in places]
    records: dict[str, dict[str, Any]] = {}
    for record in content:
        name = record.get("material_id") or record.get("mp_id")
        if not name or name in records:
            raise FormatError(f"{path.name}: {name!r} is there twice" if name else f"{path.name}: no `material_id`")
        if not failed(record):
            check_modes(path, name, record)
        records[name] = record
    return records


def failed(record: dict[str, Any]) -> bool:
    """Tell whether a crystal counts as wrong altogether: an error, imaginary modes, or another symmetry."""
    marks = ("errors", "has_imag_ph_modes", "broken_symmetry", "conductivity_skipped")
    return any(bool(record.get(mark)) for mark in marks)


def check_modes(path: Path, name: str, record: dict[str, Any]) -> None:
    """Check the conductivity of a crystal: it must be the sum over modes, divided by the sum of their weights."""
    missing = [key for key in MODES if record.get(key) is None]
    if missing:
        raise FormatError(f"{path.name}, {name}: {', '.join(missing)} missing, and no sign of a failure")
    total, modes = (directional(np.asarray(record[key], dtype=float)) for key in MODES[:2])
    weights = float(np.sum(record["mode_weights"]))
    summed = modes.reshape(len(total), -1).sum(axis=1) / weights
    if not np.allclose(summed, total, rtol=1e-2):
        raise FormatError(f"{path.name}, {name}: modes add up to {summed[0]:.4g} W/mK, the total is {total[0]:.4g}")


def directional(tensor: np.ndarray) -> np.ndarray:
    """Average the diagonal of tensors (..., 3, 3), or (..., 6) in Voigt order."""
    if tensor.shape[-2:] == (3, 3):
        return np.trace(tensor, axis1=-2, axis2=-1) / 3
    if tensor.shape[-1:] != (6,):
        raise FormatError(f"a tensor of shape {tensor.shape} must end with 6 or 3 x 3")
    return tensor[..., :3].mean(axis=-1)


@dataclass(frozen=True)
class Scores:
    """Classification of stable crystals, and errors of the energy above the hull in eV per atom."""

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int
    mae: float
    rmse: float
    missing: int

    @property
    def precision(self) -> float:
        """Stable crystals among those predicted to be."""
        return self.true_positive / max(1, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        """Stable crystals that were found."""
        return self.true_positive / max(1, self.true_positive + self.false_negative)

    @property
    def f1(self) -> float:
        """Harmonic mean of both."""
        both = 2 * self.true_positive + self.false_positive + self.false_negative
        return 2 * self.true_positive / max(1, both)

    @property
    def accuracy(self) -> float:
        """Crystals on the right side."""
        right = self.true_positive + self.true_negative
        return right / max(1, right + self.false_positive + self.false_negative)


def scores(predicted: dict[str, float], reference: Rows, unique: bool) -> Scores:
    """Compare predicted formation energies with the summary of WBM.

    The energy above the hull is that of the reference plus the error of the formation energy; a crystal is stable at
    or below zero. A missing prediction counts as not stable.

    Parameters
    ----------
    predicted : dict
        Formation energies by ``material_id``, eV per atom.
    reference : dict
        Rows of the summary.
    unique : bool
        Whether only the first crystal of each prototype counts, as in the combined score.
    """
    rows = {name: row for name, row in reference.items() if not unique or row[PROTOTYPE] == "True"}
    hull = np.array([float(row[TRUE_HULL]) for row in rows.values()])
    error = np.array([predicted.get(name, math.nan) - float(row[TRUE_FORMATION]) for name, row in rows.items()])
    error[np.abs(error) > OUTLIER] = math.nan
    stable, found = hull <= 0, hull + error <= 0  # NaN is not
    known = error[~np.isnan(error)]
    return Scores(
        int((stable & found).sum()),
        int((~stable & found).sum()),
        int((~stable & ~found).sum()),
        int((stable & ~found).sum()),
        float(np.abs(known).mean()),
        float(np.sqrt((known**2).mean())),
        int(np.isnan(error).sum()),
    )
