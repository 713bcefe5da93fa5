"""What subcommands that draw a model have in common."""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from deepmd_dpa4.checkpoint.newest import newest
from deepmd_dpa4.tools.data.errors import DataError


def add_model(parser: ArgumentParser) -> None:
    """Declare the model and its branch."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        type=Path,
        help="checkpoint .pt, or frozen file .pth or .pt2; or the folder of a training: its newest checkpoint",
    )
    add_branch(parser)


def add_data(parser: ArgumentParser) -> None:
    """Declare the data that a model is compared with, and how many frames of them."""
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="+",
        type=Path,
        help="folders of data, at any depth, or files such as extended XYZ",
    )
    parser.add_argument("--frames", type=int, help="at most so many frames, evenly spaced; default: all")


def check_frames(frames: int | None) -> None:
    """Check the number of frames that was asked for.

    Raises
    ------
    DataError
        If it is not positive.
    """
    if frames is not None and frames < 1:
        raise DataError(f"`--frames` is {frames} but must be at least 1")


def add_branch(parser: ArgumentParser, text: str = "branch of a multi-task checkpoint") -> None:
    """Declare the branch, which ``dp`` calls head in some commands and branch in others."""
    parser.add_argument("--head", "--branch", metavar="BRANCH", help=text)


def add_output(parser: ArgumentParser, default: str) -> None:
    """Declare the plot."""
    parser.add_argument(
        "-o", "--output", type=Path, default=Path(default), help="plot, .png, .svg or .pdf; default %(default)s"
    )


def add_charge_spin(parser: ArgumentParser) -> None:
    """Declare the condition of models that are conditioned on charge and spin."""
    parser.add_argument(
        "--charge-spin",
        nargs=2,
        type=float,
        metavar=("CHARGE", "SPIN"),
        help="charge and spin multiplicity, for models that ask for them",
    )


def open_model(options: Namespace) -> Any:
    """Open the model of the command line; of a folder, ``options.model`` names the checkpoint from then on.

    A training that goes on there may write a newer one meanwhile.

    Raises
    ------
    FileNotFoundError, ValueError
        As :class:`deepmd_dpa4.inference.evaluator.Evaluator`.
    """
    from deepmd_dpa4.inference.evaluator import Evaluator

    options.model = newest(options.model, "MODEL")
    evaluator = Evaluator(options.model, options.head)
    tell_weights(evaluator)
    return evaluator


def open_to_plot(options: Namespace) -> Any:
    """Open the model as :func:`open_model`, for a plot named by ``options.output``.

    Raises
    ------
    DataError
        As :func:`deepmd_dpa4.tools.plots.style.check_output`: a plot that cannot be written is refused first.
    FileNotFoundError, ValueError
        As :func:`open_model`.
    """
    from deepmd_dpa4.tools.plots.style import check_output

    check_output(options.output)
    return open_model(options)


def title_of(options: Namespace, subject: str) -> str:
    """Write the title of a plot: the model, its branch, and what it was applied to.

    Parameters
    ----------
    options : Namespace
        Options of a command with :func:`add_model`, after :func:`open_model`.
    subject : str
        Data, pair or structure.
    """
    branch = f", branch {options.head}" if options.head else ""
    return f"{options.model}{branch}: {subject}"


def tell_weights(evaluator: Any) -> None:
    """Say on stderr which weights of a checkpoint a model has."""
    if evaluator.weights is not None:
        print(f"model: {evaluator.weights.text}", file=sys.stderr)
        if evaluator.weights.warning is not None:
            print(f"warning: {evaluator.weights.warning}", file=sys.stderr)
