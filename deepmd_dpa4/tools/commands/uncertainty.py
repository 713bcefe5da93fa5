"""``dpa4 uncertainty``: add uncertainties of energies to a model file."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from deepmd_dpa4.checkpoint.newest import newest
from deepmd_dpa4.tools.commands.model_argument import add_branch, tell_weights
from deepmd_dpa4.tools.commands.progress import progress_bar

SUFFIXES = (".pt", ".pth")


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "uncertainty",
        help="add uncertainties of energies to a model file",
        description="Compute last-layer prediction rigidity in one pass over the training data, calibrate it on "
        "validation data, and store it in the model file, so that the Python interface gives uncertainties of the "
        "energies of structures and atoms.",
    )
    parser.add_argument("model", metavar="MODEL", type=Path, help="checkpoint .pt, or frozen file .pth")
    parser.add_argument("data", metavar="DATA", nargs="+", type=Path, help="folders of training data, at any depth")
    parser.add_argument(
        "--validation",
        metavar="DIR",
        nargs="+",
        type=Path,
        default=[],
        help="folders of data that the model was not trained on, whose errors set the scale; default: DATA, which "
        "makes the uncertainties too small",
    )
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="file to write; default: MODEL itself")
    add_branch(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Compute, store, and print the calibration.

    Raises
    ------
    DataError, UncertaintyError, FileError, FileNotFoundError, ValueError
        As :func:`deepmd_dpa4.tools.uncertainty.estimate.estimate`,
        :func:`deepmd_dpa4.uncertainty.archive_entry.write_entry` and
        :class:`deepmd_dpa4.inference.evaluator.Evaluator`; or if a file cannot have uncertainties.
    """
    options.model = newest(options.model, "MODEL")
    # the newest checkpoint is a link, which stays
    output = options.output or options.model.resolve()
    if options.model.suffix not in SUFFIXES:
        raise ValueError(f"`MODEL` is {options.model} but must be a checkpoint .pt or a frozen file .pth")
    if output.suffix != options.model.suffix:
        raise ValueError(f"`--output` is {output} but must end in {options.model.suffix}, as MODEL does")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"`--output` is {output} but the folder {output.parent} does not exist")
    import numpy as np

    from deepmd_dpa4.inference.evaluator import Evaluator
    from deepmd_dpa4.tools.uncertainty.estimate import estimate
    from deepmd_dpa4.uncertainty.archive_entry import write_entry

    evaluator = Evaluator(options.model, options.head)
    tell_weights(evaluator)
    with progress_bar("frames") as report:
        found = estimate(
            evaluator,
            options.data,
            options.validation,
            report,
        )
    write_entry(options.model, output, evaluator.branch, found.entry)
    entry = found.entry
    if not entry.validated:
        print(
            "warning: the errors on training data set the scale, so the uncertainties are too small; give data that "
            "the model was not trained on as `--validation`",
            file=sys.stderr,
        )
    within = float(np.mean(np.abs(found.errors) <= found.deviations))
    error, deviation = (1000 * np.sqrt(np.mean(values**2)) for values in (found.errors, found.deviations))
    kind = "validation" if entry.validated else "training"
    print(f"{entry.frames} frames of training data, {entry.rigidity.width} features")
    print(f"regularisation {entry.rigidity.ridge:.3g}, scale {entry.rigidity.scale:.3g} eV^2")
    print(
        f"{entry.calibration} frames of {kind} data: energy RMSE {error:.4g} meV, uncertainty {deviation:.4g} meV, "
        f"{within:.0%} of the errors within it"
    )
    print(output)
