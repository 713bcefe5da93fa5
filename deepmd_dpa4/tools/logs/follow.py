"""Handing rows over as a training writes them."""

import time
from collections.abc import Callable

from deepmd_dpa4.tools.logs.reader import CurveReader
from deepmd_dpa4.tools.logs.targets import Target

INTERVAL = 10.0
"""Seconds between two looks at the file."""
IDLE = 3600.0
"""Seconds without a new row after which a file that no training is known to write counts as finished."""


def follow(
    reader: CurveReader,
    target: Target,
    wait: bool,
    pause: Callable[[float], None] = time.sleep,
) -> int:
    """Hand over all rows, and with ``wait`` those that are still to come.

    A training of this package on this machine is known to write the file until it ends. Of others nobody can tell, so
    they are waited for as long as rows come.

    Parameters
    ----------
    reader : CurveReader
        Of the learning curve.
    target : Target
        What takes the rows.
    wait : bool
        Go on until the training has ended.
    pause : callable
        Waits for so many seconds.

    Returns
    -------
    int
        Number of rows.
    """
    count, known, idle = 0, False, 0.0
    while True:
        written = wait and reader.is_being_written()
        known, before = known or written, count
        for row in reader.rows():
            target.log(row.step, row.values)
            count += 1
        idle = 0.0 if count > before else idle + INTERVAL
        # rows were read after the lock was looked at, so none is left behind
        if not wait or (known and not written) or idle >= IDLE:
            return count
        pause(INTERVAL)
