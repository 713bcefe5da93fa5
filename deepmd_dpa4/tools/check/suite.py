"""All instruments, one after the other."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType

from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.tools.check.curvature import Curvature
from deepmd_dpa4.tools.check.cutoff import CutoffContinuity
from deepmd_dpa4.tools.check.dynamics import Dynamics
from deepmd_dpa4.tools.check.extensivity import SizeConsistency
from deepmd_dpa4.tools.check.force_errors import ForceErrors
from deepmd_dpa4.tools.check.hill_climb import HillClimb
from deepmd_dpa4.tools.check.instrument import Context, Instrument
from deepmd_dpa4.tools.check.pairs import PairSurvey
from deepmd_dpa4.tools.check.report import Report
from deepmd_dpa4.tools.check.symmetry import Symmetry
from deepmd_dpa4.tools.check.trimers import Trimers

ALL: tuple[Instrument, ...] = (
    PairSurvey(),
    Trimers(),
    Curvature(),
    HillClimb(),
    ForceErrors(),
    Dynamics(),
    SizeConsistency(),
    Symmetry(),
    CutoffContinuity(),
)
SOUND = MappingProxyType({instrument.name: instrument.sound for instrument in ALL})


def run_all(
    instruments: Sequence[Instrument],
    evaluator: Evaluator,
    context: Context,
    report: Report,
    progress: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> None:
    """Run those instruments of which ``report`` has no result, and add their results to it.

    Parameters
    ----------
    instruments : sequence of Instrument
        In this order.
    evaluator : Evaluator
        The model.
    context : Context
        What they run on.
    report : Report
        Written after each of them.
    progress : callable
        Told the name of the instrument, and its parts done and to do.

    Raises
    ------
    ValueError
        If the model lacks a condition that it needs.
    """
    for instrument in instruments:
        name = instrument.name
        if name in report.outcomes:
            continue
        progress(name, 0, 1)
        started = time.perf_counter()
        outcome = instrument.run(evaluator, replace(context, progress=partial(progress, name)))
        report.add(name, outcome, time.perf_counter() - started)
