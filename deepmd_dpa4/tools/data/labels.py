"""Which of the values of a frame are its labels."""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deepmd_dpa4.charge_spin import first_impossible
from deepmd_dpa4.tools.data.errors import DataError
from deepmd_dpa4.tools.data.frame import Frame, Record
from deepmd_dpa4.tools.data.stress import Convention, agree, explain, matrix

LABELS = ("energy", "force", "virial", "stress")
BASES = {
    "energy": ("energy", "free_energy", "total_energy", "potential_energy", "corrected_total_energy", "toten"),
    "force": ("forces", "force"),
    "virial": ("virial", "virials"),
    "stress": ("stress",),
}
CHARGE_SPIN = ("charge", "spin")
SOURCES = ("ref", "dft", "qm", "xtb", "vasp", "target")
# Reading a number back from a text file does not change it by more.
SAME_ENERGY = 1e-6


def usual_names(label: str) -> list[str]:
    """List names in small letters under which files have a label: alone, or with a source before or after it."""
    bases = BASES[label]
    with_source = [name for base in bases for s in SOURCES for name in (f"{s}_{base}", f"{base}_{s}", f"{s}{base}")]
    return [*bases, *with_source]


@dataclass(frozen=True, kw_only=True, slots=True)
class Keys:
    """Names that the user gives; ``None`` looks for the usual ones."""

    energy: str | None = None
    force: str | None = None
    virial: str | None = None
    stress: str | None = None


@dataclass
class Labels:
    """Turns records into frames, and remembers what it took."""

    keys: Keys
    convention: Convention
    used: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Frames per label and name."""
    seen: set[str] = field(default_factory=set)
    """All names in the files so far."""
    without_cell: int = 0
    """Frames whose stress means nothing."""
    half_charged: int = 0
    """Frames with a charge or a spin that are no pair of charge and multiplicity."""

    def frame(self, record: Record) -> Frame:
        """Make the labelled frame.

        Raises
        ------
        DataError
            If two values could be the same label and differ, if a value has the wrong shape, or if stress and virial
            contradict each other.
        """
        self.seen |= record.values.keys()
        cell = record.cell if any(record.periodic) else None
        energy, force = self.find(record, "energy"), self.find(record, "force")
        return Frame(
            place=record.place,
            symbols=record.symbols,
            positions=record.positions,
            cell=cell,
            energy=None if energy is None else float(energy[()]),
            force=force,
            virial=self.virial(record, cell),
            conditions=record.conditions or self.charge_spin(record),
        )

    def charge_spin(self, record: Record) -> dict[str, np.ndarray]:
        """Find charge and spin multiplicity of the frame."""
        given = [record.values[name] for name in CHARGE_SPIN if name in record.values]
        if not given:
            return {}
        try:
            charge, spin = (float(value) for value in given)
        except (TypeError, ValueError):
            charge, spin = np.nan, np.nan
        # other spins are numbers of unpaired electrons, or moments
        if first_impossible(np.array([[charge, spin]])) is not None:
            self.half_charged += 1
            return {}
        self.used["charge and spin", ", ".join(CHARGE_SPIN)] += 1
        return {"charge_spin": np.array([charge, spin])}

    def find(self, record: Record, label: str) -> np.ndarray | None:
        """Find the value of a label; ``None`` if the frame lacks it."""
        named = getattr(self.keys, label)
        if named is not None:
            if named not in record.values:
                return None
            return self.taken(label, named, shaped(record, label, named))
        found = self.candidates(record, label)
        if not found:
            return None
        name = next(iter(found))
        if not all(same(value, found[name]) for value in found.values()):
            if label == "energy" and record.energy_of_forces in found:
                name = record.energy_of_forces
            else:
                listed = ", ".join(f"{key} = {shown(value)}" for key, value in found.items())
                raise DataError(f"{record.place} has several values for {label}: {listed}; choose with `--{label}-key`")
        return self.taken(label, name, found[name])

    def taken(self, label: str, name: str, value: np.ndarray) -> np.ndarray:
        """Note that a value is used, unless it is NaN or infinite, which stands for none."""
        if np.isfinite(value).all():
            self.used[label, name] += 1
        return value

    def candidates(self, record: Record, label: str) -> dict[str, np.ndarray]:
        """List values under usual names and with a fitting shape, the most usual name first."""
        order = {name: rank for rank, name in enumerate(usual_names(label))}
        names = sorted((name for name in record.values if bare(name) in order), key=lambda name: order[bare(name)])
        found = {}
        for name in names:
            # such as per-atom virials: another quantity
            with suppress(DataError):
                found[name] = shaped(record, label, name)
        return found

    def virial(self, record: Record, cell: np.ndarray | None) -> np.ndarray | None:
        """Find the virial in eV, from either of the two; if both are there they have to agree."""
        only = [name for name in ("virial", "stress") if getattr(self.keys, name) is not None]
        wanted = only if len(only) == 1 else ("virial", "stress")
        virial = self.find(record, "virial") if "virial" in wanted else None
        stress = self.find(record, "stress") if "stress" in wanted else None
        if stress is not None and cell is None:
            self.without_cell += 1
            stress = None
        if cell is None or stress is None:
            return virial if virial is None or not self.convention.flip else -virial
        volume = abs(float(np.linalg.det(cell)))
        of_stress = self.convention.virial(stress, volume)
        if virial is None or not np.isfinite(virial).all():
            return of_stress
        if not np.isfinite(stress).all() or agree(virial, of_stress):
            return virial
        right = explain(virial, stress, volume)
        reason = "take one of them with `--virial-key` or `--stress-key`"
        if right is not None:
            options = f"`--stress-unit '{right.unit}'`{' and `--flip-virial`' if right.flip else ''}"
            reason = f"they agree if the stress is in {right}: give {options}, or {reason}"
        raise DataError(f"{record.place}: stress, taken as {self.convention}, contradicts the virial; {reason}")

    def check_named(self) -> None:
        """Refuse a name that no frame had.

        Raises
        ------
        DataError
            With the names that there were.
        """
        for label in LABELS:
            name = getattr(self.keys, label)
            if name is not None and name not in self.seen:
                there = ", ".join(sorted(self.seen)) or "none"
                raise DataError(f"`--{label}-key` is {name!r} but must be one of the names in the files: {there}")


def bare(name: str) -> str:
    """Reduce a name to what is compared with the usual ones."""
    return name.removeprefix("info:").lower().replace("-", "_")


def shaped(record: Record, label: str, name: str) -> np.ndarray:
    """Bring a value into the shape of its label.

    Raises
    ------
    DataError
        If it is something else.
    """
    atoms = len(record.symbols)
    try:
        value = np.asarray(record.values[name], dtype=np.float64)
        if label == "energy":
            return value.reshape(())
        if label != "force":
            return matrix(value)
        if value.shape in ((atoms, 3), (3 * atoms,)):
            return value.reshape(atoms, 3)
    except (TypeError, ValueError):
        pass
    must = {"energy": "a number", "force": f"numbers of shape ({atoms}, 3)"}.get(
        label, "numbers of shape (3, 3), 9 or 6"
    )
    raise DataError(f"`--{label}-key` is {name!r} but must be {must} in {record.place}")


def same(value: np.ndarray, reference: np.ndarray) -> bool:
    """Tell whether two files' values are one."""
    return bool(np.allclose(value, reference, rtol=1e-9, atol=SAME_ENERGY, equal_nan=True))


def shown(value: Any) -> str:
    """Shorten a value for a message."""
    return f"{float(value):.6f} eV" if value.ndim == 0 else f"array of shape {value.shape}"
