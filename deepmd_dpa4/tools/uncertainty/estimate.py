"""One pass over training data, and one over validation data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.tools.data.errors import DataError
from deepmd_dpa4.tools.data.reader import Set, sets, systems
from deepmd_dpa4.tools.plots.parity import batches
from deepmd_dpa4.uncertainty.archive_entry import Entry
from deepmd_dpa4.uncertainty.calibration import CalibrationError, calibrate
from deepmd_dpa4.uncertainty.rigidity import Array, gram_matrix

Report = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Features:
    """Structures as the last layer sees them."""

    summed: Array
    """Features summed over the atoms of each structure, (n, W)."""
    atoms: NDArray[np.int64]
    """Number of atoms, (n,)."""
    errors: Array
    """Predicted minus reference energy, (n,), eV."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """Uncertainties of a model, and what was found on the data that set their scale."""

    entry: Entry
    """What the file of the model is to hold."""
    errors: Array
    """Errors of the energies, (n,), eV."""
    deviations: Array
    """Standard deviations of the same, (n,), eV."""


def estimate(
    evaluator: Evaluator,
    training: Sequence[Path],
    validation: Sequence[Path] = (),
    report: Report = lambda done, total: None,
) -> Estimate:
    """Compute the uncertainties of a model.

    Parameters
    ----------
    evaluator : Evaluator
        The model, from a checkpoint or a ``.pth`` file of this package.
    training : sequence of Path
        Folders of the DeePMD data that it was trained on, at any depth. Frames without an energy are left out.
    validation : sequence of Path
        Folders of data that it was not trained on; without them errors on training data set the scale.
    report : callable, optional
        Told the number of frames done and to do.

    Raises
    ------
    DataError
        If there are no data, files of wrong sizes, too few energies, or energies that the model gives exactly.
    UncertaintyError
        If the model has no features of a last layer.
    ValueError
        If the model does not know an element.
    """
    evaluator.require_last_layer()
    parts = [[part for system in systems(paths) for part in sets(system)] for paths in (training, validation)]
    total = sum(len(part) for given in parts for part in given)
    known = features_of(evaluator, parts[0], lambda done: report(done, total))
    if not len(known.atoms):
        raise DataError(f"`DATA` is {_listed(training)} but must have frames with energies")
    gram = gram_matrix(known.summed, known.atoms)
    offset = sum(map(len, parts[0]))
    judged = features_of(evaluator, parts[1], lambda done: report(offset + done, total)) if validation else known
    try:
        rigidity = calibrate(gram, judged.summed, judged.errors)
    except CalibrationError as error:
        name, paths = ("--validation", validation) if validation else ("DATA", training)
        raise DataError(f"`{name}` is {_listed(paths)}: {error}") from error
    entry = Entry(rigidity, len(known.atoms), len(judged.atoms), bool(validation))
    return Estimate(entry, judged.errors, rigidity.deviations(judged.summed))


def features_of(evaluator: Evaluator, parts: Sequence[Set], report: Callable[[int], None]) -> Features:
    """Evaluate the frames with an energy; ``report`` is told how many frames are done."""
    summed: list[Array] = []
    atoms: list[int] = []
    errors: list[float] = []
    done = 0
    for batch in batches(parts, set(range(sum(map(len, parts)))), evaluator):
        labelled = [(frame, structure) for frame, _, structure in batch if frame.energy is not None and frame.symbols]
        structures = [structure for _, structure in labelled]
        found = evaluator.evaluate(structures, uncertainty=False, last_layer=True)
        for (frame, _), prediction in zip(labelled, found, strict=True):
            assert frame.energy is not None and prediction.last_layer is not None
            summed.append(prediction.last_layer.sum(axis=0))
            atoms.append(len(frame.symbols))
            errors.append(prediction.energy - frame.energy)
        done += len(batch)
        report(done)
    return Features(np.array(summed), np.array(atoms, dtype=np.int64), np.array(errors))


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths))
